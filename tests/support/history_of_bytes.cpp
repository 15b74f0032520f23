// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "command.hpp"
#include "history.hpp"
#include "kinds.hpp"
#include "world.hpp"

namespace placement::test {

template void run_history<Uuids>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<Uuids>(const std::vector<Command>&);

template void run_history<ShardIds>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<ShardIds>(const std::vector<Command>&);

}  // namespace placement::test
