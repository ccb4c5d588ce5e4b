#!/usr/bin/env bash
# Makes @tensorflow/tfjs-node-gpu run on TensorFlow's CPU kernels (the engine tfjs-node) where its own install script
# cannot download TensorFlow: the shared library and the C headers come from the PyPI wheel tensorflow-cpu, and the
# N-API binding is compiled here from the package's own sources. Needs nothing but the npm and PyPI registries.
#
# usage: npm run tensorflow
# environment: TF_VERSIONS (tried in order), TF_CACHE (kept between runs; .tf-cache by default)
# needs: Linux x86-64, node and npm, python3 with pip, g++ with C++17; 0.6 GB. Run it again after npm ci.
set -euo pipefail
cd "$(dirname "$0")/.."
TF_VERSIONS=${TF_VERSIONS:-2.13.1 2.15.1 2.18.1 2.20.0} # the first is the smallest
mkdir -p "${TF_CACHE:=.tf-cache}"
TF_CACHE=$(cd "$TF_CACHE" && pwd) # outside node_modules, which npm ci empties
PACKAGE=$PWD/node_modules/@tensorflow/tfjs-node-gpu

say() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }
fail() { printf 'tensorflow-library: %s\n' "$*" >&2; exit 1; }

[ "$(uname -sm)" = 'Linux x86_64' ] || fail "this is $(uname -sm); only Linux x86_64 is supported"
for tool in node npm python3 g++; do
  command -v "$tool" > /dev/null || fail "$tool is not installed; install it and run this again"
done

# 1. The package's JavaScript: npm leaves the optional package out where its install script fails.
if [ ! -f "$PACKAGE/package.json" ]; then
  say 'laying the packages, no install script started'
  npm install --ignore-scripts --no-save --no-audit --no-fund --loglevel=error
fi

# 2. libtensorflow and its headers from the wheel. The rename comes last, so a broken download leaves nothing behind.
unpack() { # WHEEL FOLDER
  python3 - "$1" "$2" << 'PYTHON'
import os, re, shutil, sys, zipfile

wheel, folder = sys.argv[1:]
headers = re.compile(r'tensorflow/(include/(?:tensorflow/(?:c|tsl|core/platform)|tsl|xla/tsl)/.*\.h)$')
libraries = {'tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2'}
with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())
    if not libraries <= names or 'tensorflow/include/tensorflow/c/eager/c_api.h' not in names:
        sys.exit('the wheel holds no libtensorflow_cc')
    for name in names:
        header = headers.match(name)
        path = header.group(1) if header else 'lib/' + os.path.basename(name) if name in libraries else None
        if path:
            path = os.path.join(folder, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(name) as source, open(path, 'wb') as target:  # checks each file's CRC
                shutil.copyfileobj(source, target, 1 << 20)
PYTHON
}

LIBRARY=
for version in $TF_VERSIONS; do
  folder=$TF_CACHE/tensorflow-$version
  if [ ! -d "$folder" ]; then
    say "downloading the wheel tensorflow-cpu $version (180 MB)"
    rm -rf "$TF_CACHE/wheel" "$folder.part"
    python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
      --implementation cp --python-version 3.11 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
      --dest "$TF_CACHE/wheel" "tensorflow-cpu==$version" || { say "no wheel of $version"; continue; }
    unpack "$TF_CACHE"/wheel/tensorflow_cpu-*.whl "$folder.part" || { say "$version is not as expected"; continue; }
    rm -rf "$TF_CACHE/wheel"
    # The names that the linker and the loader look for.
    for name in libtensorflow.so libtensorflow.so.2; do ln -s libtensorflow_cc.so.2 "$folder.part/lib/$name"; done
    ln -s libtensorflow_framework.so.2 "$folder.part/lib/libtensorflow_framework.so"
    mv "$folder.part" "$folder"
  fi
  LIBRARY=$folder
  break
done
[ -n "$LIBRARY" ] || fail "none of the wheels tensorflow-cpu $TF_VERSIONS is usable"
say "TensorFlow's library: $LIBRARY"

# 3. The binding, where the package looks for it.
HEADERS=$(node -p 'require("path").resolve(require("fs").realpathSync(process.execPath), "../../include/node")')
if [ ! -f "$HEADERS/node_api.h" ]; then
  HEADERS=$TF_CACHE/node-api-headers/package/include
  if [ ! -f "$HEADERS/node_api.h" ]; then
    mkdir -p "$TF_CACHE/node-api-headers"
    archive=$(npm pack --silent --pack-destination "$TF_CACHE/node-api-headers" node-api-headers@1.5.0)
    tar xzf "$TF_CACHE/node-api-headers/$archive" -C "$TF_CACHE/node-api-headers"
  fi
fi
NAPI=$(node -p "Math.max(...require('$PACKAGE/package.json').binary.napi_versions.filter((v) => v <= process.versions.napi))")
rm -rf "$PACKAGE/deps" "$PACKAGE/lib"
ln -s "$LIBRARY" "$PACKAGE/deps"
mkdir -p "$PACKAGE/lib/napi-v$NAPI"
say 'compiling the binding'
# shellcheck disable=SC2016 # the loader expands $ORIGIN, not the shell
g++ -std=c++17 -O2 -fPIC -shared -w -DNAPI_VERSION="$NAPI" -DBUILDING_NODE_EXTENSION \
  -I"$HEADERS" -I"$LIBRARY/include" "$PACKAGE"/binding/*.cc \
  -L"$LIBRARY/lib" -ltensorflow -ltensorflow_framework -Wl,-rpath,'$ORIGIN/../../deps/lib' \
  -o "$PACKAGE/lib/napi-v$NAPI/tfjs_binding.node"

# 4. Proof that it runs.
TF_CPP_MIN_LOG_LEVEL=2 node -e '
  const tf = require("@tensorflow/tfjs-node-gpu");
  const y = tf.conv2d(tf.ones([1, 4, 4, 3]), tf.ones([3, 3, 3, 2]), 1, "valid").dataSync();
  if (tf.getBackend() !== "tensorflow" || y.length !== 8 || y.some((v) => v !== 27)) throw new Error(`conv2d gave ${y}`);
  console.log(`TensorFlow ${tf.backend().binding.TF_Version} runs on the CPU: the engine tfjs-node is there`);
'
say 'done'
