// Twin of a warpgroup's products, wgmma.mma_async.m64n256k16 of bfloat16, by the PTX manual (ISA
// 9.0): matrix descriptors, register fragments, fences and groups.
#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "cuda_emulation.h"
#include "cuda_emulation_machine.h"

namespace softpack_emulation {
namespace {

constexpr uint32_t kAddresses = 1u << 18;
constexpr unsigned kRows = 64, kColumns = 256, kDepth = 16, kSums = 128, kWords = 4;

struct Product {
  std::array<std::array<uint32_t, kWords>, kWarpgroup> words;  // as they were
  std::array<const uint32_t*, kWarpgroup> registers;           // and where they are
  uint64_t descriptor = 0;
  const char* shared = nullptr;
  std::array<uint16_t, kColumns * kDepth> tile;  // B, column after column, as it was
  unsigned threads = 0;                          // that have issued it
};

struct ThreadState {
  uint64_t issued = 0, committed = 0;
  std::deque<uint64_t> groups;  // products issued up to the end of each pending group
  bool fenced = false;
  float* sums = nullptr;  // while products are pending
};

struct Warpgroup {
  std::deque<Product> pending;
  uint64_t done = 0;  // products
  std::array<float, kRows * kColumns> sums;
  // Of the product that is being made: not of the thread, whose static memory is scarce.
  std::array<uint16_t, kColumns * kDepth> tile;
  std::array<float, kDepth * kColumns> b;
  std::array<ThreadState, kWarpgroup> threads;
};

// Of the cluster that runs in this thread of the process.
std::vector<std::unique_ptr<Warpgroup>>& Warpgroups() {
  thread_local std::vector<std::unique_ptr<Warpgroup>> warpgroups;
  return warpgroups;
}

Warpgroup& ThisWarpgroup() {
  auto& all = Warpgroups();
  // At most 1,024 threads a block.
  const unsigned at = ClusterRank() * 8 + ThreadInBlock() / kWarpgroup;
  if (at >= all.size()) all.resize(at + 1);
  if (all[at] == nullptr) all[at] = std::make_unique<Warpgroup>();
  return *all[at];
}
ThreadState& ThisThread() { return ThisWarpgroup().threads[ThreadInBlock() % kWarpgroup]; }

// "Register fragments for wgmma.mma_async.m64nNk16".
unsigned RowOfSum(unsigned thread, unsigned i) {
  return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
unsigned ColumnOfSum(unsigned thread, unsigned i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

float OfBfloat(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// Element (column, k) of B by its descriptor ("Matrix-descriptor format", "Canonical layouts",
// K-major): groups of 8 rows of B^T a stride apart, rows of 16 (no swizzle), 32, 64 or 128 bytes,
// in which 16-byte pieces are exchanged by the address itself.
uint32_t AddressOfElement(uint64_t descriptor, unsigned column, unsigned k) {
  const uint32_t start = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
  const uint32_t leading = static_cast<uint32_t>(descriptor >> 16 & 0x3fff) << 4;
  const uint32_t stride = static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4;
  const unsigned mode = static_cast<unsigned>(descriptor >> 62);
  const uint32_t byte = k * 2;
  if (mode == 0) {
    return start + column / 8 * stride + byte / 16 * leading + column % 8 * 16 + byte % 16;
  }
  const unsigned row_bits = 8 - mode;  // 128, 64, 32 bytes
  const uint32_t linear = start + column / 8 * stride + ((column % 8) << row_bits) + byte;
  // Bits 4 up of the address are exchanged with bits 7 up: 3, 2 or 1 of them.
  const uint32_t mask = ((1u << (4 - mode)) - 1) << 4;
  return linear ^ (linear >> 3 & mask);
}

void ReadTile(uint64_t descriptor, const char* shared, uint16_t* tile) {
  constexpr uint64_t kKnown = 0x3fffull | 0x3fffull << 16 | 0x3fffull << 32 | 3ull << 62;
  if ((descriptor & ~kKnown) != 0) Stop("a matrix descriptor with a base offset or unknown bits");
  for (unsigned column = 0; column < kColumns; ++column) {
    for (unsigned k = 0; k < kDepth; ++k) {
      const uint32_t address = AddressOfElement(descriptor, column, k);
      if (address < kFirstAddress || address >= kAddresses) Stop("a matrix beyond shared memory");
      CopyUnwatched(tile + column * kDepth + k, shared + (address - kFirstAddress),
                    sizeof(uint16_t));
    }
  }
}

// Sums of the first pending product, whose operands must be what they were.
void Finish(Warpgroup& group) {
  Product& product = group.pending.front();
  if (product.threads != kWarpgroup) Stop("a product that only some threads issued");
  ReadTile(product.descriptor, product.shared, group.tile.data());
  if (group.tile != product.tile) Stop("a tile changed while a product read it");
  for (unsigned column = 0; column < kColumns; ++column) {
    for (unsigned k = 0; k < kDepth; ++k) {
      group.b[k * kColumns + column] = OfBfloat(group.tile[column * kDepth + k]);
    }
  }
  float a[kRows][kDepth];
  for (unsigned thread = 0; thread < kWarpgroup; ++thread) {
    for (unsigned i = 0; i < kWords; ++i) {
      const uint32_t word = product.words[thread][i];
      if (product.registers[thread][i] != word) Stop("a register changed while a product read it");
      const unsigned row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8;
      const unsigned k = thread % 4 * 2 + i / 2 * 8;
      a[row][k] = OfBfloat(static_cast<uint16_t>(word));
      a[row][k + 1] = OfBfloat(static_cast<uint16_t>(word >> 16));
    }
  }
  for (unsigned row = 0; row < kRows; ++row) {
    float* const sums = group.sums.data() + row * kColumns;
    for (unsigned k = 0; k < kDepth; ++k) {
      for (unsigned column = 0; column < kColumns; ++column) {
        sums[column] += a[row][k] * group.b[k * kColumns + column];
      }
    }
  }
  group.pending.pop_front();
  ++group.done;
}

// What sums are while products run; what is added to it shows, unlike with NaN.
constexpr float kPoison = 12345.678f;

}  // namespace

void FenceProducts() {
  const Unwatched unwatched;
  ThisThread().fenced = true;
}

void MultiplyWarpgroup(const uint32_t (&a)[4], uint64_t b, float (&sums)[128]) {
  const Unwatched unwatched;
  Warpgroup& group = ThisWarpgroup();
  const unsigned thread = ThreadInBlock() % kWarpgroup;
  ThreadState& own = group.threads[thread];
  if (!own.fenced) Stop("a product without a fence behind what wrote its registers");
  if (own.sums == nullptr) {
    for (unsigned i = 0; i < kSums; ++i) {
      group.sums[RowOfSum(thread, i) * kColumns + ColumnOfSum(thread, i)] = sums[i];
    }
    std::fill(sums, sums + kSums, kPoison);
    own.sums = sums;
  }
  if (own.sums != sums) Stop("products with different sums at once");
  const size_t at = static_cast<size_t>(own.issued++ - group.done);
  if (at == group.pending.size()) {
    group.pending.emplace_back();
    Product& product = group.pending.back();
    product.descriptor = b;
    product.shared = static_cast<const char*>(CurrentShared());
    ReadTile(b, product.shared, product.tile.data());
  }
  Product& product = group.pending[at];
  if (product.descriptor != b) Stop("threads of a warpgroup describe different matrices");
  for (unsigned i = 0; i < kWords; ++i) product.words[thread][i] = a[i];
  product.registers[thread] = a;
  ++product.threads;
}

// A fence holds for what was written before it, and registers are written between groups.
void CommitProducts() {
  const Unwatched unwatched;
  ThreadState& own = ThisThread();
  own.groups.push_back(own.issued);
  own.fenced = false;
}

void AwaitProducts(unsigned pending) {
  WarpgroupBarrier();
  const Unwatched unwatched;
  Warpgroup& group = ThisWarpgroup();
  ThreadState& own = ThisThread();
  while (own.groups.size() > pending) {
    while (group.done < own.groups.front()) Finish(group);
    own.groups.pop_front();
  }
  if (own.sums == nullptr) return;
  const unsigned thread = ThreadInBlock() % kWarpgroup;
  for (unsigned i = 0; i < kSums; ++i) {
    if (own.sums[i] != kPoison) Stop("sums were used while a product was under way");
  }
  if (group.done < own.issued) return;
  for (unsigned i = 0; i < kSums; ++i) {
    own.sums[i] = group.sums[RowOfSum(thread, i) * kColumns + ColumnOfSum(thread, i)];
  }
  own.sums = nullptr;
}

void EndCluster() {
  const Unwatched unwatched;
  for (const auto& group : Warpgroups()) {
    if (group != nullptr && !group->pending.empty()) Stop("a product that nobody waited for");
  }
  Warpgroups().clear();
}

}  // namespace softpack_emulation
