"""Makes goldens: someone else's networks in PyTorch float64, on portable or stored weights. Our own output never enters.

    python golden/oracle/make.py --out FOLDER [--repmlpnet repmlpnet.py] [--train] [NAME...]

writes them and a manifest into FOLDER; nothing that is accepted is touched. `fuseproof golden update` runs it. Without names
it makes every golden; RepMLPNet's need a copy of the original's source, whose SHA-256 is checked.
"""

import argparse
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import torch

import make_repmlpnet
import make_repvit
from formatted import format_json
from goldens import Output, make_case

FAMILIES = {'repvit': make_repvit, 'repmlpnet': make_repmlpnet}


REQUIREMENTS = Path(__file__).resolve().parent / 'requirements.txt'


def unpinned() -> list[str]:
    """Packages that are here in another version than the pinned one, which may round otherwise."""
    found = []
    for package, pinned in re.findall(r'^([\w-]+)==(\S+)$', REQUIREMENTS.read_text(), re.MULTILINE):
        try:
            here = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            here = 'absent'
        # Which of its builds does not matter: 2.15.0+cpu is 2.15.0.
        if here.split('+')[0] != pinned:
            found.append(f'{package} is {here} here, {REQUIREMENTS.name} pins {pinned}: last digits may differ')
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', help='goldens (default: all)')
    parser.add_argument('--out', type=Path, help='folder to write to')
    parser.add_argument('--repmlpnet', type=Path, help=f'copy of {make_repmlpnet.SOURCE}')
    parser.add_argument('--train', action='store_true', help='train the networks for digits first, a few minutes')
    parser.add_argument('--list', action='store_true', help='print the names by family as JSON and make nothing')
    arguments = parser.parse_args()

    names = {family: [case.name for case in module.cases()] for family, module in FAMILIES.items()}
    if arguments.list:
        print(json.dumps({'names': names, 'source': make_repmlpnet.SOURCE}))
        return
    if arguments.out is None:
        parser.error('--out FOLDER is needed')
    unknown = sorted(set(arguments.names) - {name for known in names.values() for name in known})
    if unknown:
        sys.exit(f'there is no golden {", ".join(unknown)}; --list prints their names')

    for difference in unpinned():
        print(difference, flush=True)
    torch.set_grad_enabled(False)
    output = Output(arguments.out)
    if arguments.train:
        import train_digits  # which alone needs scikit-learn

        train_digits.train_all(output, arguments.repmlpnet)
    for family, module in FAMILIES.items():
        chosen = [name for name in names[family] if arguments.names == [] or name in arguments.names]
        if chosen == []:
            continue
        source = module.family(arguments.repmlpnet)
        for case in source.cases:
            if case.name in chosen:
                make_case(output, source, case)
    output.path('manifest.json').write_text(format_json({'goldens': output.entries}))


if __name__ == '__main__':
    main()
