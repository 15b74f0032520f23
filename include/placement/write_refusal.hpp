// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_WRITE_REFUSAL_HPP_
#define PLACEMENT_WRITE_REFUSAL_HPP_

#include <ostream>
#include <string_view>

namespace placement {
inline namespace v1 {

// Why a write was not admitted.
enum class WriteRefusal {
  UnknownPartition,  // the table has no such partition
  Cutover,           // the partition is in cutover: hold the write, then resolve again
  StaleEpoch,        // the partition's epoch is not the expected one: resolve again
  DeadlineExceeded,  // the partition was still in cutover at the deadline
  TooManyHeld,       // as many writes are held already as the table's options allow
};

[[nodiscard]] constexpr std::string_view to_string(WriteRefusal refusal) noexcept {
  switch (refusal) {
    case WriteRefusal::UnknownPartition:
      return "UnknownPartition";
    case WriteRefusal::Cutover:
      return "Cutover";
    case WriteRefusal::StaleEpoch:
      return "StaleEpoch";
    case WriteRefusal::DeadlineExceeded:
      return "DeadlineExceeded";
    case WriteRefusal::TooManyHeld:
      return "TooManyHeld";
  }
  return "unknown WriteRefusal";
}

inline std::ostream& operator<<(std::ostream& out, WriteRefusal refusal) {
  return out << to_string(refusal);
}

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_WRITE_REFUSAL_HPP_
