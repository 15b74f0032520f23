// SPDX-License-Identifier: Apache-2.0
#include "adapted.hpp"

namespace placement::bench {

template std::vector<Maker<UuidBytes>> contender_makers<UuidBytes>();

}  // namespace placement::bench
