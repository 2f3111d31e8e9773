#include "cuda/decoder.h"

#include <algorithm>

#include "cpu/decode_plan.h"
#include "cpu/dispatch.h"
#include "cpu/fixed_tables.h"
#include "cpu/value_bound.h"
#include "cuda/bfloat_versions.h"
#include "cuda/layout.h"
#include "cuda/project.h"
#include "cuda/table_versions.h"
#include "cuda/targets.h"

namespace softpack {
namespace {

// Labels per chunk if rows go through memory: about half of L2.
constexpr uint64_t kLeastChunk = 1024;
// Labels per chunk if rows stay in registers: enough for several waves of blocks.
constexpr uint64_t kRegisterChunk = 65536;
constexpr unsigned kThreads = 256;
// First architecture whose tensor cores multiply bfloat16.
constexpr int kBfloatCapability = 80;
// Number of rows from L2 that cost as much as the product on tensor cores, counted for an H100:
// 0.37 ns per row (table_rows.cu), 5.9 ns for the product of 1,000 by 1,000 (bfloat.cu).
constexpr uint64_t kMostFixedStages = 16;

// Tables from rows in order of columns to lane order (layout.h), once per decoder: one thread per
// element or pair, scattered reads, sequential writes.
template <class From, class To>
struct ArrangeParams {
  const From* from;  // [rows, from_stride]
  To* to;            // [rows, to_stride]
  uint64_t from_stride;
  uint64_t to_stride;
};

__global__ void ArrangeFloatKernel(ArrangeParams<float, float> params) {
  const uint64_t row = blockIdx.x;
  for (uint64_t at = threadIdx.x; at < params.to_stride; at += kThreads) {
    const uint64_t column = LaneColumn<kFloatVector>(at);
    params.to[row * params.to_stride + at] =
        column < params.from_stride ? params.from[row * params.from_stride + column] : 0.0f;
  }
}

__global__ void ArrangeFixedKernel(ArrangeParams<int16_t, uint32_t> params) {
  const uint64_t row = blockIdx.x;
  const int16_t* const from = params.from + row * params.from_stride;
  for (uint64_t at = threadIdx.x; at < params.to_stride; at += kThreads) {
    const uint64_t low = LaneColumn<kFixedVector>(2 * at);
    const uint64_t high = LaneColumn<kFixedVector>(2 * at + 1);
    params.to[row * params.to_stride + at] =
        PackPair(low < params.from_stride ? from[low] : int16_t{0},
                 high < params.from_stride ? from[high] : int16_t{0});
  }
}

uint64_t CodebookFloats(const SoftpackDecoderSpec& spec) {
  return (spec.stages - 1) * spec.codebook_stride + spec.levels * spec.width;
}

uint32_t ChooseMethodHere(const SoftpackDecoderSpec& spec) {
  if (spec.method != kSoftpackMethodAuto) return spec.method;
  // `exact` and `fast` depend on the spec alone, as on the CPU.
  const uint32_t chosen = ChooseMethod(spec, nullptr);
  if (spec.precision != kSoftpackPrecisionFastest) return chosen;
  // Slices in shared memory cost less than the product wherever they fit.
  const bool slices =
      spec.bases == nullptr &&
      ChooseSlices(spec.classes, spec.stages, spec.levels, Facts().shared_bytes).units > 0;
  const bool fixed = chosen == kSoftpackMethodFixed && (slices || spec.stages <= kMostFixedStages);
  if (fixed || Facts().instructions < kBfloatCapability) return chosen;
  return kSoftpackMethodBfloat;
}

}  // namespace

uint64_t CachedLabels(uint64_t count, uint64_t label_bytes) {
  const uint64_t cached = std::max(Facts().l2_bytes / 2 / label_bytes, kLeastChunk);
  return std::max<uint64_t>(std::min(cached, count), 1);
}

int CudaDecoder::Create(const SoftpackDecoderSpec& spec) {
  int status = StartDevice();
  if (status != kSoftpackOk) return status;
  // Labels are not inspected one by one here, unlike on the CPU.
  if (spec.head != kSoftpackHeadIdentity && MayOverflow(spec)) return kSoftpackUnsupportedMethod;
  method_ = ChooseMethodHere(spec);
  status = CreateTables(spec);
  if (spec.method == kSoftpackMethodAuto && status == kSoftpackInvalidArgument) {
    method_ = kSoftpackMethodLatent;  // values that no fixed point can hold; as on the CPU
    status = CreateTables(spec);
  }
  return status;
}

int CudaDecoder::CreateTables(const SoftpackDecoderSpec& spec) {
  const bool bfloat = MultipliesBfloat();
  if (method_ > kSoftpackMethodSplit) return kSoftpackInvalidArgument;
  if (bfloat && Facts().instructions < kBfloatCapability) return kSoftpackUnsupportedMethod;
  Operation operation(0);
  bits_ = spec.bits;
  head_ = {spec.head,
           spec.head == kSoftpackHeadSoftmax ? 1.0f / spec.head_parameter : spec.head_parameter};
  tables_ = {};
  tables_.classes = spec.classes;
  tables_.stride = RoundUpTo(spec.classes, 64);
  tables_.latent = spec.latent;
  tables_.stages = spec.stages;
  tables_.levels = spec.levels;
  tables_.width = spec.width;
  tables_.codebook_stride = spec.codebook_stride;
  tables_.latent_step = spec.latent_step;
  tables_.base_rows = spec.bases == nullptr ? 0 : spec.base_rows;
  float* const bias = Hold<float>(operation, bias_, tables_.stride);
  operation.Clear(bias, 0, tables_.stride * sizeof(float));
  if (spec.bias != nullptr) operation.CopyIn(bias, spec.bias, spec.classes * sizeof(float));
  tables_.bias = bias;
  if (method_ == kSoftpackMethodLatent || bfloat) {
    CreateLatent(operation, spec);
    if (bfloat) CreateBfloat(operation, spec, method_ == kSoftpackMethodSplit);
    if (method_ == kSoftpackMethodBfloat && ChooseBfloatVersion(spec) == 2) {
      CreateHopper(operation, spec);
    }
  } else {
    if (tables_.base_rows > 0) CreateBaseTable(operation, spec);
    if (method_ == kSoftpackMethodTable)
      CreateTable(operation, spec);
    else
      CreateFixed(operation, spec);
  }
  return operation.Finish();
}

void CudaDecoder::CreateLatent(Operation& operation, const SoftpackDecoderSpec& spec) {
  const uint64_t codebook_floats = CodebookFloats(spec);
  const uint64_t basis_floats = spec.latent * spec.classes;
  float* const codebooks = Hold<float>(operation, codebooks_, codebook_floats);
  operation.CopyIn(codebooks, spec.codebooks, codebook_floats * sizeof(float));
  float* const basis = Hold<float>(operation, basis_, basis_floats);
  operation.CopyIn(basis, spec.basis, basis_floats * sizeof(float));
  tables_.codebooks = codebooks;
  tables_.basis = basis;
  if (tables_.base_rows > 0) {
    const uint64_t floats = spec.base_rows * spec.latent;
    float* const bases = Hold<float>(operation, bases_, floats);
    operation.CopyIn(bases, spec.bases, floats * sizeof(float));
    tables_.bases = bases;
  }
}

// Base vectors times the basis, each a chain from 0 over ascending elements.
void CudaDecoder::CreateBaseTable(Operation& operation, const SoftpackDecoderSpec& spec) {
  float* const table = Hold<float>(operation, base_table_, spec.base_rows * tables_.stride);
  operation.Clear(table, 0, spec.base_rows * tables_.stride * sizeof(float));
  ProductParams product = {};
  product.a = {operation.Input(spec.bases, spec.base_rows * spec.latent), spec.latent, 1,
               spec.base_rows};
  product.b = {operation.Input(spec.basis, spec.latent * spec.classes), 1, spec.classes,
               spec.classes};
  product.out = table;
  product.out_stride = tables_.stride;
  product.inner = spec.latent;
  RunProduct(operation, product);
  tables_.base_table = table;
}

// Codewords times their part of the basis: k labels' worth of the latent method's product.
void CudaDecoder::CreateTable(Operation& operation, const SoftpackDecoderSpec& spec) {
  tables_.table_stride = RoundUpTo(spec.classes, 32 * kFloatVector);
  const uint64_t stage_floats = spec.levels * tables_.table_stride;
  float* const table = Hold<float>(operation, table_, spec.stages * stage_floats);
  const float* const codebooks = operation.Input(spec.codebooks, CodebookFloats(spec));
  const float* const basis = operation.Input(spec.basis, spec.latent * spec.classes);
  float* const rows = operation.Take<float>(spec.levels * spec.classes);
  for (uint64_t stage = 0; operation.ok() && stage < spec.stages; ++stage) {
    ProductParams product = {};
    product.a = {codebooks + stage * spec.codebook_stride, spec.width, 1, spec.levels};
    product.b = {basis + stage * spec.latent_step * spec.classes, 1, spec.classes, spec.classes};
    product.out = rows;
    product.out_stride = spec.classes;
    product.inner = spec.width;
    RunProduct(operation, product);
    operation.Run("arranging a table", ArrangeFloatKernel,
                  {static_cast<unsigned>(spec.levels), kThreads},
                  {rows, table + stage * stage_floats, spec.classes, tables_.table_stride});
  }
  tables_.table = table;
}

// Quantised on the host, by the code that the CPU's decoder uses: steps and entries are the same.
void CudaDecoder::CreateFixed(Operation& operation, const SoftpackDecoderSpec& spec) {
  FixedTables host;
  const Isa* const isa = SelectedIsa();
  if (isa == nullptr) operation.Fail(kSoftpackUnsupportedIsa);
  if (operation.ok()) operation.Fail(BuildFixedTables(*isa->kernels, spec, &host));
  if (!operation.ok()) return;
  tables_.table_stride = RoundUpTo(spec.classes, 32 * kFixedVector) / 2;
  const uint64_t stage_rows = spec.levels * host.columns;
  uint32_t* const fixed =
      Hold<uint32_t>(operation, table_, spec.stages * spec.levels * tables_.table_stride);
  int16_t* const rows = operation.Take<int16_t>(stage_rows);
  for (uint64_t stage = 0; operation.ok() && stage < spec.stages; ++stage) {
    operation.CopyIn(rows, host.rows.data() + stage * stage_rows, stage_rows * sizeof(int16_t));
    operation.Run("arranging a table", ArrangeFixedKernel,
                  {static_cast<unsigned>(spec.levels), kThreads},
                  {rows, fixed + stage * spec.levels * tables_.table_stride, host.columns,
                   tables_.table_stride});
  }
  float* const start = Hold<float>(operation, start_, host.columns);
  operation.CopyIn(start, host.start.data(), host.columns * sizeof(float));
  float* const steps = Hold<float>(operation, steps_, host.runs * host.columns);
  operation.CopyIn(steps, host.steps.data(), host.runs * host.columns * sizeof(float));
  uint32_t* const ends = Hold<uint32_t>(operation, run_ends_, host.runs);
  operation.CopyIn(ends, host.run_ends.data(), host.runs * sizeof(uint32_t));
  tables_.fixed = fixed;
  tables_.start = start;
  tables_.steps = steps;
  tables_.run_ends = ends;
  tables_.runs = host.runs;
  const clusters::Plan plan = PlanTableVersion(tables_);
  tables_.table_clusters = plan.blocks == 0 ? 0 : TableClusters(plan);
  if (tables_.table_clusters > 0)
    CreateClusters(operation, host, plan);
  else
    CreateSlices(operation, host);
}

SoftpackDecoderInfo CudaDecoder::Info() const {
  uint64_t bytes = 0;
  for (const DeviceArray* array :
       {&bias_, &codebooks_, &bases_, &basis_, &base_table_, &table_, &start_, &steps_, &run_ends_,
        &basis_high_, &basis_low_, &codebooks_high_, &codebooks_low_, &sum_slices_, &label_slices_,
        &cluster_slices_, &hopper_tiles_, &hopper_codebook_}) {
    bytes += array->bytes();
  }
  return {method_, bytes};
}

bool CudaDecoder::MultipliesBfloat() const {
  return method_ == kSoftpackMethodBfloat || method_ == kSoftpackMethodSplit;
}

bool CudaDecoder::RowsFitRegisters() const {
  return (method_ == kSoftpackMethodTable || method_ == kSoftpackMethodFixed) &&
         tables_.classes <= kRegisterClasses;
}

bool CudaDecoder::DecodesByHopper(RowUse use) const {
  return (use == RowUse::kDecode ? tables_.hopper_clusters : tables_.hopper_loss_clusters) > 0;
}

bool CudaDecoder::DecodesByClusters(uint64_t count) const {
  return tables_.cluster_slices != nullptr && count >= kLeastTableLabels &&
         head_.kind != kSoftpackHeadSoftmax;
}

Working CudaDecoder::TakeWorking(Operation& operation, uint64_t chunk, RowUse use,
                                 bool slices) const {
  Working working;
  if (DecodesByHopper(use)) return working;
  if (slices) {
    working.values = operation.Take<float>(chunk * (kSliceSlots + 1));
    working.rows = operation.Take<uint16_t>(SliceRows(chunk));
    return working;
  }
  const bool bfloat = MultipliesBfloat();
  if (method_ == kSoftpackMethodLatent) {
    working.vectors = operation.Take<float>(chunk * tables_.latent);
  }
  if (bfloat) working.latents = operation.Take<uint16_t>(BfloatLatents(tables_, chunk));
  const bool whole = RowsFitRegisters() || (bfloat && BfloatLabelsFit(tables_.classes));
  if (!whole) working.values = operation.Take<float>(chunk * tables_.stride);
  return working;
}

uint64_t CudaDecoder::ChunkLabels(uint64_t count, RowUse use) const {
  const bool latents = MultipliesBfloat() && BfloatLabelsFit(tables_.classes);
  const uint64_t latent_bytes = (tables_.basis_low == nullptr ? 2 : 4) * tables_.latent_stride;
  const uint64_t label_bytes = latents ? latent_bytes : tables_.stride * sizeof(float);
  if (!RowsFitRegisters() && !DecodesByHopper(use)) return CachedLabels(count, label_bytes);
  return std::max<uint64_t>(std::min(kRegisterChunk, count), 1);
}

void CudaDecoder::UseRows(Operation& operation, const LabelChunk& chunk, const RowTarget& target,
                          RowUse use, const Working& working) const {
  float* const values = working.values;
  switch (method_) {
    case kSoftpackMethodTable:
      return RunTable(operation, tables_, chunk, target, use, values);
    case kSoftpackMethodFixed:
      return RunFixed(operation, tables_, chunk, target, use, values);
    case kSoftpackMethodLatent:
      RunLatentValues(operation, tables_, chunk, working.vectors, values);
      return RunRows(operation, target, use, values, tables_.stride);
    default:
      if (DecodesByHopper(use)) {
        return use == RowUse::kDecode ? RunHopperLabels(operation, tables_, chunk, target)
                                      : RunHopperLosses(operation, tables_, chunk, target);
      }
      if (BfloatLabelsFit(tables_.classes)) {
        return RunBfloatLabels(operation, tables_, chunk, target, use, working.latents);
      }
      RunBfloatValues(operation, tables_, chunk, working.latents, values);
      return RunRows(operation, target, use, values, tables_.stride);
  }
}

int CudaDecoder::Decode(Operation& operation, const SoftpackDecodeArgs& args) const {
  const uint64_t labels = args.labels.count;
  DecodeTarget target(operation, args, head_, tables_.classes,
                      ChunkLabels(labels, RowUse::kDecode));
  LabelSource source(operation, args.labels, tables_, bits_, target.chunk());
  if (!operation.ok() || labels == 0) return operation.Finish();
  const bool slices = DecodesBySlices(labels), clusters = DecodesByClusters(labels);
  Working working = TakeWorking(operation, target.chunk(), RowUse::kDecode, slices);
  if (clusters) working.partial = operation.Take<uint4>(PartialUnits(target.chunk()));
  return ForEachChunk(operation, target, labels,
                      [&](uint64_t first, uint64_t count, const RowTarget& rows) {
                        const LabelChunk part = source.Next(first, count);
                        if (clusters)
                          RunClusterTables(operation, tables_, part, rows, working.partial);
                        else if (slices)
                          DecodeBySlices(operation, part, rows, working);
                        else
                          UseRows(operation, part, rows, RowUse::kDecode, working);
                      });
}

int CudaDecoder::DecodeKl(Operation& operation, const SoftpackDecodeKlArgs& args,
                          uint32_t type) const {
  if (head_.kind == kSoftpackHeadIdentity) return kSoftpackInvalidArgument;
  if (type > kSoftpackBfloat16) return kSoftpackInvalidArgument;
  const uint64_t labels = args.labels.count;
  KlTarget target(operation, args, type, head_, tables_.classes, ChunkLabels(labels, RowUse::kKl));
  LabelSource source(operation, args.labels, tables_, bits_, target.chunk());
  if (!operation.ok() || labels == 0) return operation.Finish();
  const Working working = TakeWorking(operation, target.chunk(), RowUse::kKl, false);
  return ForEachChunk(operation, target, labels,
                      [&](uint64_t first, uint64_t count, const RowTarget& rows) {
                        UseRows(operation, source.Next(first, count), rows, RowUse::kKl, working);
                      });
}

}  // namespace softpack
