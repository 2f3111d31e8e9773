"""Bits of a sequence of labels of tokens; docs/tokens.md has the format."""

from .errors import SoftpackError

MAX_POSITIONS = 1 << 24
# Labels of a group; where each group begins is stored.
GROUP = 64
# Ids of a coded text between two offsets.
TEXT_GROUP = 256


def invalid(expected, found):
    return SoftpackError("INVALID_FILE", "not a sequence of labels", "codes", expected, found)


def bits_for(count):
    return max(1, (count - 1).bit_length())


class BitReader:
    """Fields of any number of bits, least significant first."""

    def __init__(self, data, position=0):
        self._data, self.position = data, position

    def require(self, bits):
        if self.position + bits > 8 * len(self._data):
            raise invalid(f"at least {self.position + bits} bits", 8 * len(self._data))

    def read(self, bits):
        self.require(bits)
        begin, end = self.position, self.position + bits
        self.position = end
        return int.from_bytes(self._data[begin >> 3 : (end + 7) >> 3], "little") >> (begin & 7) & ((1 << bits) - 1)

    def below(self, limit):
        """A number below `limit`; the larger ones take a bit more."""
        bits = limit.bit_length() - 1
        short = (2 << bits) - limit
        first = self.read(bits)
        return first if first < short else 2 * first + self.read(1) - short

    def count(self):
        value = 0
        for unit in (1, 1 << 7, 1 << 14, 1 << 21):
            byte = self.read(8)
            value += (byte & 127) * unit
            if value > MAX_POSITIONS:
                break
            if byte < 128:
                return value
        raise invalid(f"at most {MAX_POSITIONS} positions", value)

    def set(self, count, limit):
        """`count` ascending numbers below `limit`: the middle one first, then both halves."""
        out = [0] * count

        def visit(begin, end, low, high):
            if begin == end:
                return
            middle = (begin + end) >> 1
            least, most = low + middle - begin, high - (end - 1 - middle)
            out[middle] = least + self.below(most - least + 1)
            visit(begin, middle, low, out[middle] - 1)
            visit(middle + 1, end, out[middle] + 1, high)

        visit(0, count, 0, limit - 1)
        return out

    def multiset(self, count, limit):
        return [value - i for i, value in enumerate(self.set(count, limit + max(count - 1, 0)))]

    def counted(self, count, limit):
        """The same as how many differ, these, and where each but the first begins."""
        different = self.below(min(count, limit)) + 1
        names = self.set(different, limit)
        starts = [0] + [start + 1 for start in self.set(different - 1, count - 1)] + [count]
        return [name for name, begin, end in zip(names, starts, starts[1:]) for _ in range(end - begin)]


class SequenceHead:
    """
    What comes before the labels of a sequence. `length`: tokens of the text, or None without one. `coded`: whether ids of texts have
    a code.
    """

    def __init__(self, data, vocabulary, coded=False):
        reader = BitReader(data)
        stored, self.first, self.rows = reader.count(), reader.count(), reader.count()
        self.masked = reader.read(1) == 1
        self.length = None if stored == 0 else stored - 1
        if self.length is not None and self.first + self.rows > self.length:
            raise invalid(f"labels of {self.length} positions", f"{self.first} to {self.first + self.rows}")
        self.text_at = reader.position
        self.mask_at = self.text_at + (self.length or 0) * bits_for(vocabulary)
        if coded:
            groups = -(-(self.length or 0) // TEXT_GROUP)
            ends = BitReader(data, self.text_at + 32 * max(groups - 1, 0))
            self.mask_at = self.text_at + 32 * groups + (ends.read(32) if groups > 0 else 0)
        self.offsets_at = self.mask_at + (self.rows if self.masked else 0)
        if coded:
            self.offsets_at += -self.offsets_at % 8
        reader.require(self.offsets_at - self.text_at)

    def reader_at(self, data, row, skip):
        """A reader that stands before label `row`; `skip` decodes one before it."""
        groups, group = -(-self.rows // GROUP), row // GROUP
        position = self.offsets_at + 32 * max(groups - 1, 0)
        if group > 0:
            position += BitReader(data, self.offsets_at + 32 * (group - 1)).read(32)
        reader = BitReader(data, position)
        for _ in range(group * GROUP, row):
            skip(reader)
        return reader
