// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_FLEET_DETAIL_LOCK_HOLDER_HPP_
#define PLACEMENT_FLEET_DETAIL_LOCK_HOLDER_HPP_

#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

namespace placement {
inline namespace v1 {
namespace fleet {
namespace detail {

// Who holds a file's write lock on a byte, from the kernel's list. To ask the file itself
// (F_GETLK) needs a descriptor of it, and closing that would drop this process's own locks.
// Returns 0 if nobody can be named.
[[nodiscard]] inline pid_t holder_of_write_lock(const std::string& path, std::uint64_t byte) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return 0;
  const std::string inode = absl::StrCat(":", static_cast<std::uint64_t>(info.st_ino));
  std::ifstream locks("/proc/locks");
  std::string line;
  while (std::getline(locks, line)) {
    // 1: POSIX  ADVISORY  WRITE 4711 08:01:131077 120 120
    std::istringstream words(line);
    std::string number, kind, advice, access, pid, file, first, last;
    words >> number >> kind >> advice >> access >> pid >> file >> first >> last;
    if (access != "WRITE" || !file.ends_with(inode)) continue;
    std::uint64_t from = 0;
    std::uint64_t to = std::numeric_limits<std::uint64_t>::max();
    int holder = 0;
    if (!absl::SimpleAtoi(first, &from) || (last != "EOF" && !absl::SimpleAtoi(last, &to)))
      continue;
    if (byte < from || byte > to || !absl::SimpleAtoi(pid, &holder)) continue;
    if (holder > 0) return holder;
  }
  return 0;
}

// "process 4711 (router), which is stopped"
[[nodiscard]] inline std::string describe_process(pid_t pid) {
  if (pid == ::getpid()) return absl::StrCat("this process, ", pid);
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(stat, text);
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');  // the name may have parentheses of its own
  if (open == std::string::npos || close == std::string::npos || close + 2 >= text.size()) {
    return absl::StrCat("process ", pid);
  }
  const char state = text[close + 2];
  const bool is_stopped = state == 'T' || state == 't';
  return absl::StrCat("process ", pid, " ", text.substr(open, close + 1 - open),
                      is_stopped ? ", which is stopped: kill it or let it go on" : "");
}

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_LOCK_HOLDER_HPP_
