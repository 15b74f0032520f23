// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_CHECKSUMMED_PLACEMENT_HPP_
#define PLACEMENT_TESTS_SUPPORT_CHECKSUMMED_PLACEMENT_HPP_

#include <cstdint>
#include <ostream>

namespace placement::test {

// A placement that knows whose it is and which of that partition's, and that cannot be put
// together from the words of two others without its checksum telling.
struct ChecksummedPlacement {
  std::uint64_t partition = 0;
  std::uint64_t sequence = 0;
  std::uint64_t filler = 0;
  std::uint64_t more_filler = 0;
  std::uint64_t checksum = 0;

  ChecksummedPlacement() = default;
  ChecksummedPlacement(std::uint64_t of, std::uint64_t nth)
      : partition(of),
        sequence(nth),
        filler(mix(of + nth)),
        more_filler(mix(filler)),
        checksum(expected_checksum()) {}

  [[nodiscard]] bool is_whole() const { return checksum == expected_checksum(); }

  friend bool operator==(const ChecksummedPlacement&, const ChecksummedPlacement&) = default;
  friend std::ostream& operator<<(std::ostream& out, const ChecksummedPlacement& placement) {
    out << placement.partition << '#' << placement.sequence;
    return placement.is_whole() ? out : out << " (torn)";
  }

 private:
  static constexpr std::uint64_t mix(std::uint64_t word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9U;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBU;
    return word ^ (word >> 31);
  }
  [[nodiscard]] std::uint64_t expected_checksum() const {
    return mix(mix(mix(mix(partition + 1) ^ sequence) ^ filler) ^ more_filler);
  }
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_CHECKSUMMED_PLACEMENT_HPP_
