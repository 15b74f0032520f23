// SPDX-License-Identifier: Apache-2.0
#include "adapted.hpp"

namespace placement::bench {

template std::vector<Maker<ShortNames>> contender_makers<ShortNames>();

}  // namespace placement::bench
