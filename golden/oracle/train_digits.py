"""Trains a small RepViT (timm's class) and a small RepMLPNet (the original's) on the UCI handwritten digits.

Run by make.py --train: weights, configs and the test images are there a few CPU minutes later. The digits come with scikit-learn:
1797 grey images of 8x8 pixels with values 0 to 16. Each pixel becomes 4x4, so that an image is [1, 32, 32]; values stay as
they are, since batch norms scale them. The same seed gives the same split anywhere, and the same weights on the same machine.
"""

import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import make_repmlpnet
import make_repvit
from formatted import format_json
from goldens import Output

SEED = 20230718
TEST_IMAGES = 360
PIXEL = 4
EPOCHS = 60
BATCH = 64
RATE = 3e-3
LEAST_ACCURACY = 0.97

REPVIT = {
    'in_chans': 1,
    'embed_dim': (24, 48, 96),
    'depth': (1, 1, 2),
    'num_classes': 10,
}
REPMLPNET = {
    'in_channels': 1,
    'num_class': 10,
    'channels': (32, 64),
    'hs': (8, 4),
    'ws': (8, 4),
    'num_blocks': (1, 2),
    'sharesets_nums': (2, 4),
    'reparam_conv_k': (1, 3),
}


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and test images [N, 1, 32, 32] in uint8, labels [N]."""
    images, labels = load_digits(return_X_y=True)
    large = images.reshape(-1, 1, 8, 8).astype(np.uint8).repeat(PIXEL, axis=2).repeat(PIXEL, axis=3)
    x, x_test, y, y_test = train_test_split(
        large, labels.astype(np.uint8), test_size=TEST_IMAGES, random_state=SEED, stratify=labels
    )
    return x, y, x_test, y_test


def shifted(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by up to one digit pixel along each axis, over zeros."""
    padded = torch.nn.functional.pad(x, [PIXEL] * 4)
    offsets = torch.randint(0, 2 * PIXEL + 1, (len(x), 2), generator=generator).tolist()
    side = x.shape[-1]
    return torch.stack([image[:, dy : dy + side, dx : dx + side] for image, (dy, dx) in zip(padded, offsets, strict=True)])


def accuracy(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).double().mean().item()


def train(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(len(x), generator=generator)[: len(x) // BATCH * BATCH]
        total = 0.0
        for batch in order.split(BATCH):
            loss = loss_of(model(shifted(x[batch], generator)), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f'  epoch {epoch + 1}: loss {total / (len(order) // BATCH):.4f}', flush=True)


def train_all(output: Output, repmlpnet: Path | None) -> None:
    """Trains both networks and writes what they are made of."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order
    torch.use_deterministic_algorithms(True)
    x, y, x_test, y_test = split()
    tensors = [torch.from_numpy(array.astype(np.float32)) for array in (x, x_test)]
    labels = [torch.from_numpy(array.astype(np.int64)) for array in (y, y_test)]
    data = {'script': 'golden/oracle/train_digits.py', 'scikit_learn': sklearn.__version__}
    output.save('digits/test.safetensors', {'input': x_test, 'labels': y_test})
    what = f'{TEST_IMAGES} digits that no network was trained on, [N, 1, 32, 32], and their labels'
    output.describe('digits_test', 'digits/test.safetensors', what, data)
    for name, module, given in (('repvit', make_repvit, REPVIT), ('repmlpnet', make_repmlpnet, REPMLPNET)):
        started = time.perf_counter()
        family = module.family(repmlpnet)
        config = family.complete(given)
        torch.manual_seed(SEED)
        model = family.build(config)
        with torch.enable_grad():
            train(model, tensors[0], labels[0])
        # Half precision is enough for digits; from here on these are the weights.
        model.half().float()
        state = {
            key: value.numpy().astype(np.float16)
            for key, value in model.state_dict().items()
            if not key.endswith('num_batches_tracked')
        }
        reached = accuracy(model, tensors[1], labels[1])
        seconds = time.perf_counter() - started
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f'{name}: {count} parameters, {100 * reached:.2f} % of {TEST_IMAGES} test images, {seconds:.0f} s', flush=True)
        if reached < LEAST_ACCURACY:
            raise SystemExit(f'{name}: below {100 * LEAST_ACCURACY} %')
        made_by = {**data, **family.made_by, 'script': data['script']}
        output.save(f'digits/{name}.weights.safetensors', state)
        what = f'weights after training, in half precision, {100 * reached:.2f} % of the test images right'
        output.describe(f'digits_{name}.weights', f'digits/{name}.weights.safetensors', what, made_by)
        output.path(f'digits/{name}.json').write_text(format_json(config))
        output.describe(f'digits_{name}.config', f'digits/{name}.json', 'config', made_by)
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
