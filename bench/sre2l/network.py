"""Networks and pixels of this bench."""

from torch import nn
from torchvision.transforms import functional as F

SIDE = 24
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def normalised(image):
    return F.normalize(F.to_tensor(image), MEAN, STD)


def block(inside, outside, size, stride):
    convolution = nn.Conv2d(inside, outside, size, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(*block(width, width, 3, 1), *block(width, width, 3, 1)[:2])

    def forward(self, x):
        return nn.functional.relu(x + self.layers(x))


def student(classes):
    """The same as softpack's ConvNet of widths 32, 64, 128 without residual blocks."""
    layers = [*block(3, 32, 4, 2), *block(32, 64, 4, 2), *block(64, 128, 4, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))
