// SPDX-License-Identifier: Apache-2.0
#include "adapted.hpp"

namespace placement::bench {

template std::vector<Maker<Integers>> contender_makers<Integers>();

}  // namespace placement::bench
