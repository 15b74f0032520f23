// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_FLEET_DETAIL_RANDOM_ID_HPP_
#define PLACEMENT_FLEET_DETAIL_RANDOM_ID_HPP_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace placement {
inline namespace v1 {
namespace fleet {

// 128 random bits as 32 hexadecimal digits, from the system: a process that forks, or a machine
// that is copied, draws others.
[[nodiscard]] inline std::string random_id() {
  static_assert(std::random_device::min() == 0 && std::random_device::max() == 0xffffffff);
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device system;
  std::string id;
  for (int word = 0; word < 4; ++word) {
    std::uint32_t bits = system();
    for (int digit = 0; digit < 8; ++digit, bits >>= 4) id.push_back(kDigits[bits & 15]);
  }
  return id;
}

}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_RANDOM_ID_HPP_
