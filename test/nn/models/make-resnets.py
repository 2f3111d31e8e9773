"""Makes the checkpoints of the ResNet tests by torch, with torchvision's names and structure written out here.

    python -m venv venv && . venv/bin/activate && pip install torch numpy
    python make-resnets.py

Two tiny networks: basic blocks behind ImageNet's stem, bottlenecks behind the 3x3 stem of small images. `resnet.json` holds
the logits that torch gave for images of sin(1.7 i + 0.01 i^2), i counting (image, height, width, channel), and every eleventh value of its
gradient of sum(logits * weights) at the images.
"""

import json
import os

import torch
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = 5


def conv(a, b, size, stride=1):
    return nn.Conv2d(a, b, size, stride, padding=(size - 1) // 2, bias=False)


class Basic(nn.Module):
    expansion = 1

    def __init__(self, a, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(a, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
        if stride > 1 or a != planes:
            self.downsample = nn.Sequential(conv(a, planes, 1, stride), nn.BatchNorm2d(planes))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, a, planes, stride):
        super().__init__()
        b = planes * self.expansion
        self.conv1, self.bn1 = conv(a, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, b, 1), nn.BatchNorm2d(b)
        if stride > 1 or a != b:
            self.downsample = nn.Sequential(conv(a, b, 1, stride), nn.BatchNorm2d(b))

    def forward(self, x):
        y = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, block, planes, blocks, large):
        super().__init__()
        a = planes[0]
        self.conv1 = conv(3, a, 7, 2) if large else conv(3, a, 3)
        self.bn1 = nn.BatchNorm2d(a)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        for layer, (width, count) in enumerate(zip(planes, blocks), 1):
            parts = []
            for i in range(count):
                parts.append(block(a, width, 2 if layer > 1 and i == 0 else 1))
                a = width * block.expansion
            setattr(self, f"layer{layer}", nn.Sequential(*parts))
        self.layers = len(planes)
        self.fc = nn.Linear(a, CLASSES)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for layer in range(self.layers):
            x = getattr(self, f"layer{layer + 1}")(x)
        return self.fc(x.mean((2, 3)))


def main():
    torch.manual_seed(7)
    reference = {}
    for name, model, size in [
        ("resnet-basic", ResNet(Basic, [4, 6, 8], [2, 1, 1], True), (33, 40)),
        ("resnet-bottleneck", ResNet(Bottleneck, [2, 3, 4], [1, 2, 1], False), (12, 9)),
    ]:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
                nn.init.normal_(module.running_mean, 0, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        model.eval()
        state = model.state_dict()
        if name == "resnet-bottleneck":  # As a training script under DataParallel saves it.
            state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
        torch.save(state, os.path.join(HERE, f"{name}.pth"))
        i = torch.arange(2 * size[0] * size[1] * 3, dtype=torch.float64)
        x = torch.sin(1.7 * i + 0.01 * i * i).float().reshape(2, *size, 3).permute(0, 3, 1, 2).requires_grad_()
        weights = torch.randn(2, CLASSES)
        logits = model(x)
        (logits * weights).sum().backward()
        flat = lambda t: [round(v, 6) for v in t.detach().flatten().tolist()]
        hwc = lambda t: flat(t.permute(0, 2, 3, 1))
        reference[name] = {
            "size": size, "logits": flat(logits), "weights": flat(weights), "gradient": hwc(x.grad)[::11],
        }
    with open(os.path.join(HERE, "resnet.json"), "w") as file:
        json.dump(reference, file)
        file.write("\n")


main()
