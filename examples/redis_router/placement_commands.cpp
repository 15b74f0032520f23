// SPDX-License-Identifier: Apache-2.0
#include "placement_commands.hpp"

#include <absl/time/time.h>

#include <algorithm>
#include <utility>

#include "resp.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

using placement::ClusterId;
using placement::MigrationError;
using placement::MigrationPhase;
using placement::TransitionResult;
using Args = std::span<const std::string_view>;
using Reply = std::optional<std::string>;

constexpr std::string_view kHelp[] = {
    "PLACEMENT SET tenant cluster      place a tenant; moves no data, overrides a move by hand",
    "PLACEMENT GET tenant              where it lives, its phase, its writes in flight",
    "PLACEMENT LIST [MIGRATING]        all tenants, a line each",
    "PLACEMENT MIGRATE tenant cluster  move it with all its keys; answers when it is done",
    "PLACEMENT STATUS tenant           how its move goes, or how the last one went",
    "PLACEMENT ABORT tenant            abort its move; it stays where it was",
    "PLACEMENT ERASE tenant            forget its placement; moves no data",
    "By hand, where other tools move the data:",
    "PLACEMENT BEGIN tenant cluster    start a move: reads and writes still go to the origin",
    "PLACEMENT CUTOVER tenant          hold writes back",
    "PLACEMENT COMPLETE tenant         the flip: refused while writes are in flight",
};

std::string phase_name(MigrationPhase phase) { return lower(placement::to_string(phase)); }

std::string age_text(const TenantStatus& status) {
  if (!status.age) return "?";
  return absl::FormatDuration(absl::Trunc(*status.age, absl::Milliseconds(1)));
}

std::string list_line(const TenantStatus& status) {
  std::string line = concat(one_word(status.tenant), " ", phase_name(status.state.phase()), " ",
                            status.state.read_placement().cluster().view());
  if (const auto to = status.state.destination()) line += concat("->", to->cluster().view());
  return line += concat(" epoch=", status.epoch.value(), " age=", age_text(status),
                        " writes_in_flight=", status.writes_in_flight);
}

class PlacementCommand {
 public:
  PlacementCommand(Args args, Context& context, Migrations::Done done)
      : args_(args), context_(context), directory_(context.directory), done_(std::move(done)) {}

  Reply run();

 private:
  [[nodiscard]] std::string_view tenant() const { return args_[2]; }

  // The cluster that the request names; null and an error in `reply` if there is none.
  const ClusterOptions* destination(std::string& reply) const {
    const ClusterOptions* cluster = directory_.find_cluster(args_[3]);
    if (cluster == nullptr)
      reply = error_reply(concat("NOCLUSTER there is no cluster ", quote(args_[3])));
    return cluster;
  }

  // A transition, unless the router is moving the tenant itself.
  template <typename Transition>
  std::string by_hand(Transition transition) {
    std::string reply;
    const bool idle =
        context_.migrations.unless_running(tenant(), [&] { reply = answer(transition()); });
    return idle ? reply
                : error_reply("BUSY this tenant is being moved; PLACEMENT ABORT stops that");
  }

  std::string answer(placement::Epoch epoch) const {
    return simple_reply(concat("OK epoch ", epoch.value()));
  }
  std::string answer(TransitionResult result) const {
    if (result) return answer(*result);
    if (result == MigrationError::WritesInFlight) {
      return error_reply(concat("WRITESINFLIGHT ", directory_.table().writes_in_flight(tenant()),
                                " writes are still in flight; ask again"));
    }
    return error_reply(refusal_text(result.status()));
  }

  Reply set();
  Reply get() const;
  Reply list() const;
  Reply begin();
  Reply cutover() {
    return by_hand([&] { return directory_.enter_cutover(tenant()); });
  }
  Reply complete() {
    return by_hand([&] { return directory_.complete(tenant()); });
  }
  Reply abort();
  Reply erase() {
    return by_hand([&] { return directory_.erase(tenant()); });
  }
  Reply migrate();
  Reply status() const;
  Reply help() const;

  const Args args_;
  Context& context_;
  Directory& directory_;
  Migrations::Done done_;
};

Reply PlacementCommand::run() {
  struct Subcommand {
    std::string_view name;
    std::size_t least_args;
    std::size_t most_args;
    Reply (*run)(PlacementCommand&);
  };
  using Self = PlacementCommand;
  static constexpr Subcommand kSubcommands[] = {
      {"set", 4, 4, [](Self& c) { return c.set(); }},
      {"get", 3, 3, [](Self& c) { return c.get(); }},
      {"list", 2, 3, [](Self& c) { return c.list(); }},
      {"begin", 4, 4, [](Self& c) { return c.begin(); }},
      {"cutover", 3, 3, [](Self& c) { return c.cutover(); }},
      {"complete", 3, 3, [](Self& c) { return c.complete(); }},
      {"abort", 3, 3, [](Self& c) { return c.abort(); }},
      {"migrate", 4, 4, [](Self& c) { return c.migrate(); }},
      {"status", 3, 3, [](Self& c) { return c.status(); }},
      {"erase", 3, 3, [](Self& c) { return c.erase(); }},
      {"help", 2, 2, [](Self& c) { return c.help(); }},
  };
  const std::string_view name = args_.size() > 1 ? args_[1] : std::string_view();
  const auto found =
      std::find_if(std::begin(kSubcommands), std::end(kSubcommands),
                   [&](const Subcommand& known) { return same_word(known.name, name); });
  if (found == std::end(kSubcommands)) {
    return error_reply(concat("ERR unknown subcommand ", quote(name), ". Try PLACEMENT HELP."));
  }
  if (args_.size() < found->least_args || args_.size() > found->most_args) {
    return error_reply(
        concat("ERR wrong number of arguments for 'placement|", found->name, "' command"));
  }
  return found->run(*this);
}

Reply PlacementCommand::set() {
  std::string reply;
  const ClusterOptions* cluster = destination(reply);
  if (cluster == nullptr) return reply;
  return by_hand([&] { return directory_.set(tenant(), ClusterId(cluster->name)); });
}

Reply PlacementCommand::begin() {
  std::string reply;
  const ClusterOptions* cluster = destination(reply);
  if (cluster == nullptr) return reply;
  if (directory_.origin_of_move(tenant(), *cluster, reply) == nullptr) return error_reply(reply);
  return by_hand([&] { return directory_.begin(tenant(), ClusterId(cluster->name)); });
}

Reply PlacementCommand::abort() {
  if (context_.migrations.stop(tenant())) return simple_reply("OK aborting");
  return by_hand([&] { return directory_.abort(tenant()); });
}

Reply PlacementCommand::migrate() {
  std::string reply;
  const ClusterOptions* cluster = destination(reply);
  if (cluster == nullptr) return reply;
  if (const auto refused = context_.migrations.start(tenant(), *cluster, std::move(done_))) {
    return error_reply(*refused);
  }
  return std::nullopt;
}

Reply PlacementCommand::get() const {
  std::string reply;
  const auto status = directory_.status(tenant());
  if (!status) {
    append_null(reply);
    return reply;
  }
  const auto to = status->state.destination();
  const std::string fields[] = {
      "tenant",
      status->tenant,
      "phase",
      phase_name(status->state.phase()),
      "cluster",
      std::string(status->state.read_placement().cluster().view()),
      "destination",
      to ? std::string(to->cluster().view()) : std::string(),
      "epoch",
      std::to_string(status->epoch.value()),
      "age",
      age_text(*status),
      "writes_in_flight",
      std::to_string(status->writes_in_flight),
  };
  append_array_header(reply, std::size(fields));
  for (const std::string& field : fields) append_bulk(reply, field);
  return reply;
}

Reply PlacementCommand::list() const {
  if (args_.size() == 3 && !same_word(args_[2], "migrating")) {
    return error_reply(concat("ERR syntax error: ", quote(args_[2]), " is not MIGRATING"));
  }
  std::vector<TenantStatus> all = directory_.list();
  if (args_.size() == 3) {
    std::erase_if(all, [](const TenantStatus& status) { return !status.state.is_migrating(); });
  }
  std::string reply;
  append_array_header(reply, all.size());
  for (const TenantStatus& status : all) append_bulk(reply, list_line(status));
  return reply;
}

Reply PlacementCommand::status() const {
  std::string reply;
  const auto status = context_.migrations.status(tenant());
  if (!status) {
    append_null(reply);
    return reply;
  }
  append_array_header(reply, 2 * status->fields.size() + 2);
  for (const auto& [name, value] : status->fields) {
    append_bulk(reply, name);
    append_bulk(reply, value);
  }
  append_bulk(reply, "progress");
  append_array_header(reply, status->lines.size());
  for (const std::string& line : status->lines) append_bulk(reply, line);
  return reply;
}

Reply PlacementCommand::help() const {
  std::string reply;
  append_array_header(reply, std::size(kHelp));
  for (const std::string_view line : kHelp) append_simple(reply, line);
  return reply;
}

}  // namespace

Reply run_placement_command(Args args, Context& context, Migrations::Done done) {
  return PlacementCommand(args, context, std::move(done)).run();
}

std::string refusal_text(const absl::Status& status) {
  std::string text(status.message());
  const auto colon = text.find(':');
  if (colon == std::string::npos) return concat("ERR ", text);
  if (absl::IsNotFound(status)) return concat("NOPLACEMENT", text.substr(colon + 1));
  for (char& c : std::span(text).first(colon))
    c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text.erase(colon, 1);
}

}  // namespace redis_router
