// SPDX-License-Identifier: Apache-2.0
#include "adapted.hpp"

namespace placement::bench {

template std::vector<Maker<Uuids>> contender_makers<Uuids>();

}  // namespace placement::bench
