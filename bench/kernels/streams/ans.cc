// Rivals of rANS decoding in C++: ryg_rans by its SIMD header in the form of its own benchmark (eight states, one
// static table a row), and zstd's FSE (tables written before each row and built from there, as zstd does).
//   ans FOLDER ROWS COLUMNS
// reads `values` (int16) and `frequencies` (uint16, 256 a row, of 4096) of the folder and serves line-peer.mjs.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#ifdef __SSE4_1__
#include "platform.h"
#include "sse_platform.h"

#include "rans_word_sse41.h"
#endif

extern "C" {
#define FSE_STATIC_LINKING_ONLY
#include "fse.h"
}

namespace {

constexpr unsigned kTableLog = 12;

struct Input {
  size_t rows, columns;
  std::vector<uint8_t> symbols;
  std::vector<uint16_t> frequencies;
  std::vector<uint32_t> starts;  // [rows, 256]
};

class Coder {
 public:
  explicit Coder(const Input& input) : input_(input), decoded_(input.symbols.size()) {}
  virtual ~Coder() = default;
  virtual size_t Encode() = 0;
  virtual void Decode() = 0;
  double Wrong() {
    decoded_.assign(decoded_.size(), 0xcc);
    Decode();
    size_t wrong = 0;
    for (size_t i = 0; i < decoded_.size(); ++i) wrong += decoded_[i] != input_.symbols[i];
    return static_cast<double>(wrong) / static_cast<double>(decoded_.size());
  }

 protected:
  const Input& input_;
  std::vector<uint8_t> decoded_;
};

#ifdef __SSE4_1__
class Ryg : public Coder {
 public:
  explicit Ryg(const Input& input)
      : Coder(input), tables_(input.rows), words_(input.symbols.size() + 64) {
    for (size_t row = 0; row < input.rows; ++row) {
      for (unsigned s = 0; s < 256; ++s) {
        RansWordTablesInitSymbol(&tables_[row], static_cast<uint8_t>(s),
                                 input.starts[row * 256 + s], input.frequencies[row * 256 + s]);
      }
    }
  }
  size_t Encode() override {
    RansWordEnc states[8];
    for (auto& state : states) state = RansWordEncInit();
    // The decoder reads a little past the end.
    uint16_t* const end = words_.data() + words_.size() - 16;
    uint16_t* at = end;
    for (size_t row = input_.rows; row-- > 0;) {
      const uint16_t* const frequencies = &input_.frequencies[row * 256];
      const uint32_t* const starts = &input_.starts[row * 256];
      const uint8_t* const own = &input_.symbols[row * input_.columns];
      for (size_t i = input_.columns; i-- > 0;) {
        RansWordEncPut(&states[i & 7], &at, starts[own[i]], frequencies[own[i]]);
      }
    }
    for (int i = 8; i-- > 0;) RansWordEncFlush(&states[i], &at);
    begin_ = at;
    return static_cast<size_t>(end - at) * sizeof(uint16_t);
  }
  void Decode() override {
    uint16_t* at = begin_;
    RansSimdDec low, high;
    RansSimdDecInit(&low, &at);
    RansSimdDecInit(&high, &at);
    for (size_t row = 0; row < input_.rows; ++row) {
      const RansWordTables* const table = &tables_[row];
      uint8_t* const out = &decoded_[row * input_.columns];
      for (size_t i = 0; i < input_.columns; i += 8) {
        const uint32_t first = RansSimdDecSym(&low, table);
        const uint32_t second = RansSimdDecSym(&high, table);
        std::memcpy(out + i, &first, 4);
        std::memcpy(out + i + 4, &second, 4);
        RansSimdDecRenorm(&low, &at);
        RansSimdDecRenorm(&high, &at);
      }
    }
  }

 private:
  std::vector<RansWordTables> tables_;
  std::vector<uint16_t> words_;
  uint16_t* begin_ = nullptr;
};
#endif

class Fse : public Coder {
 public:
  explicit Fse(const Input& input)
      : Coder(input), bytes_(2 * input.symbols.size() + 1024 * input.rows), sizes_(input.rows) {}
  size_t Encode() override {
    uint8_t* at = bytes_.data();
    for (size_t row = 0; row < input_.rows; ++row) {
      short counts[256];
      unsigned last = 0;
      for (unsigned s = 0; s < 256; ++s) {
        counts[s] = static_cast<short>(input_.frequencies[row * 256 + s]);
        if (counts[s] != 0) last = s;
      }
      const size_t room = static_cast<size_t>(bytes_.data() + bytes_.size() - at);
      const size_t head = FSE_writeNCount(at, room, counts, last, kTableLog);
      FSE_buildCTable_wksp(table_, counts, last, kTableLog, workspace_, sizeof(workspace_));
      const size_t body =
          FSE_compress_usingCTable(at + head, room - head, &input_.symbols[row * input_.columns],
                                   input_.columns, table_);
      sizes_[row] = head + body;
      at += sizes_[row];
    }
    return static_cast<size_t>(at - bytes_.data());
  }
  void Decode() override {
    const uint8_t* at = bytes_.data();
    for (size_t row = 0; row < input_.rows; ++row) {
      const size_t size = FSE_decompress_wksp_bmi2(&decoded_[row * input_.columns], input_.columns,
                                                   at, sizes_[row], kTableLog, workspace_,
                                                   sizeof(workspace_), 1);
      if (FSE_isError(size)) std::abort();
      at += sizes_[row];
    }
  }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<size_t> sizes_;
  unsigned table_[FSE_CTABLE_SIZE_U32(kTableLog, 255)];
  unsigned workspace_[16384];
};

template <class T>
std::vector<T> Read(const std::string& file, size_t count) {
  std::vector<T> values(count);
  std::ifstream(file, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(count * sizeof(T)));
  return values;
}

void Time(Coder& coder, const std::string& op, int calls) {
  const auto wall = std::chrono::steady_clock::now();
  const std::clock_t cpu = std::clock();
  for (int i = 0; i < calls; ++i) {
    if (op == "rans-encode") coder.Encode();
    else coder.Decode();
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count();
  std::cout << seconds << '\t' << static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC << '\n';
}

}  // namespace

int main(int, char** argv) {
  Input input = {std::stoul(argv[2]), std::stoul(argv[3]), {}, {}, {}};
  const std::string folder = argv[1];
  const size_t count = input.rows * input.columns;
  for (int16_t value : Read<int16_t>(folder + "/values", count)) {
    input.symbols.push_back(static_cast<uint8_t>(value + 128));
  }
  input.frequencies = Read<uint16_t>(folder + "/frequencies", input.rows * 256);
  input.starts.assign(input.rows * 256, 0);
  for (size_t i = 0; i + 1 < input.starts.size(); ++i) {
    if ((i + 1) % 256 != 0) input.starts[i + 1] = input.starts[i] + input.frequencies[i];
  }
  Fse fse(input);
  std::vector<std::pair<std::string, Coder*>> coders = {{"zstd FSE", &fse}};
#ifdef __SSE4_1__
  Ryg ryg(input);
  coders.push_back({"ryg_rans SIMD", &ryg});
#endif
  for (const auto& entry : coders) entry.second->Encode();
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream fields(line);
    std::vector<std::string> request;
    for (std::string field; std::getline(fields, field, '\t');) request.push_back(field);
    if (request[0] == "list") {
      for (size_t i = 0; i < coders.size(); ++i) std::cout << (i > 0 ? "\t" : "") << coders[i].first;
      std::cout << '\n';
    } else {
      const std::string name = request[0] == "time" ? request[2] : request[1];
      for (const auto& entry : coders) {
        if (entry.first != name) continue;
        if (request[0] == "time") Time(*entry.second, request[1], std::stoi(request[3]));
        else std::cout << entry.second->Encode() << '\t' << entry.second->Wrong() << '\n';
      }
    }
    std::cout.flush();
  }
}
