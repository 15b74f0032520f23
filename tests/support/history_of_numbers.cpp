// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "command.hpp"
#include "history.hpp"
#include "kinds.hpp"
#include "world.hpp"

namespace placement::test {

template void run_history<BigNumbers>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<BigNumbers>(const std::vector<Command>&);

template void run_history<SignedNumbers>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<SignedNumbers>(const std::vector<Command>&);

template void run_history<Enumerated>(const std::vector<Command>&, const Scale&, Sights&);
template std::string describe<Enumerated>(const std::vector<Command>&);

}  // namespace placement::test
