// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_TENANT_HPP_
#define REDIS_ROUTER_TENANT_HPP_

#include <string>
#include <string_view>

namespace redis_router {

// A key's tenant is its text before the first ':'. A key without one is a tenant of its own, under
// its whole name.
[[nodiscard]] constexpr std::string_view tenant_of(std::string_view key) noexcept {
  return key.substr(0, key.find(':'));
}

// The glob that SCAN matches against to list a tenant's keys: "<tenant>:*", the tenant taken
// literally. The one other key a tenant can have is named exactly as the tenant itself.
[[nodiscard]] inline std::string keys_pattern(std::string_view tenant) {
  std::string pattern;
  for (const char c : tenant) {
    if (std::string_view("*?[]^-\\").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern += ":*";
}

}  // namespace redis_router

#endif  // REDIS_ROUTER_TENANT_HPP_
