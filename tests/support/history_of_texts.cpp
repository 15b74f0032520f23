// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "command.hpp"
#include "history.hpp"
#include "kinds.hpp"
#include "world.hpp"

namespace placement::test {

template void run_history<PlainText>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<PlainText>(const std::vector<Command>&);

template void run_history<HostileText>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<HostileText>(const std::vector<Command>&);

template void run_history<CollidingText>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<CollidingText>(const std::vector<Command>&);

}  // namespace placement::test
