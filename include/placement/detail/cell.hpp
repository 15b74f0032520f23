// SPDX-License-Identifier: Apache-2.0
//
// One partition's cell, and how it is read while it changes. The numbers in parentheses name the
// pairs that synchronize; docs/concurrency.md carries the whole argument.
#ifndef PLACEMENT_DETAIL_CELL_HPP_
#define PLACEMENT_DETAIL_CELL_HPP_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <absl/base/attributes.h>

#include "placement/detail/id_block.hpp"
#include "placement/detail/partition_key.hpp"
#include "placement/detail/prefetch.hpp"
#include "placement/detail/stamp.hpp"
#include "placement/detail/text_words.hpp"
#include "placement/detail/word.hpp"
#include "placement/table_memory.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// A fixed number of words, in whole half cache lines, so that a cell lies on as few lines as its
// size allows: with a Placement, 64 bytes for an id of one or two words (an integer, a UUID's
// bytes), 96 (two lines, always) for three or four, or a text id.
//
// Writers hold the shard's mutex. The rules they keep for the readers:
//   (C1) A buffer is written only while the cell's stamp does not name it: a settled stamp names
//        the active one, a migrating stamp both. Its words are release stores that follow that
//        stamp's store, so whoever acquires a new word sees a stamp newer than any that named the
//        old ones.
//   (C2) A cell gets a new id only while its stamp accepts no reader (vacant); then
//        come the label and the id's words, release stores as well, then the new stamp.
//   (C3) The stamp is stored last, so whoever acquires it sees all that it speaks of.
//
// A reader loads the stamp (acquire), compares and copies (acquire), and loads the stamp again. If
// both are equal, no word it copied was newer: a newer word (C1, C2) would have brought a newer
// stamp with it. And none was older, by (C3). Where a stamp comes back, the array's version, which
// is looked at after the stamp, catches it: see ShardView.
template <std::size_t MinIdWords, std::size_t PlacementWords>
class alignas(kCacheLine / 2) Cell {
  static constexpr std::size_t kHalfLine = kCacheLine / 2 / sizeof(Word);
  static constexpr std::size_t kWords =
      (2 + MinIdWords + 2 * PlacementWords + kHalfLine - 1) / kHalfLine * kHalfLine;

 public:
  using Placement = std::array<std::uint64_t, PlacementWords>;

  static constexpr std::size_t kIdWords = kWords - 2 - 2 * PlacementWords;
  static constexpr std::size_t kInlineBytes = kIdWords * 8;
  static_assert(kInlineBytes < 0xFFFF, "an inline length fits the label");

  // ---- for everyone ----

  [[nodiscard]] Stamp stamp() const noexcept {
    return Stamp(stamp_.load(std::memory_order_acquire));  // (1) sees all before (2)
  }

  // Is the stamp still the one that was loaded before? Everything that was read in between was
  // read with acquire, so this load comes after it. It is an acquire itself because an equal stamp
  // may be that of the cell's next partition (V3): whoever takes that one sees the new version too.
  [[nodiscard]] bool is_still(Stamp stamp) const noexcept {
    return stamp_.load(std::memory_order_acquire) == stamp.word();
  }

  // As is_still, and in one total order with the count of the writes in flight: see
  // WriteCounters, (P2).
  [[nodiscard]] bool is_still_in_total_order(Stamp stamp) const noexcept {
    return stamp_.load(std::memory_order_seq_cst) == stamp.word();
  }

  // Has the cell's last line fetched. Which placement will be read is known only when the stamp is
  // there, so without this the two lines of a cell are waited for one after the other.
  void prefetch_end() const noexcept {
    if constexpr (sizeof(Cell) > kCacheLine) prefetch(id_.data() + kIdWords - 1);
  }

  // Which of the shard's counters is the partition's.
  [[nodiscard]] std::uint32_t counter() const noexcept {
    return static_cast<std::uint32_t>(label_.load(std::memory_order_acquire) >> 32);
  }

  // Whether the cell has the id, one that does not need a block.
  //
  // The words that are compared may be of several ids: the cell may get a new one meanwhile. So
  // true counts only if the stamp is still the same afterwards, as for all that is read. False is
  // good without that: the id that a stamp speaks of was stored before the stamp, so whoever finds
  // another word than its own found a later one, and then its id left the cell meanwhile.
  template <std::size_t Words>
  [[nodiscard]] ABSL_ATTRIBUTE_ALWAYS_INLINE bool matches_inline(
      const FixedKey<Words>& key) const noexcept {
    std::uint64_t difference = id_[0].load(std::memory_order_acquire) ^ key.id[0];  // (4)
    for (std::size_t i = 1; i < Words; ++i) {
      difference |= id_[i].load(std::memory_order_acquire) ^ key.id[i];  // (4)
    }
    return difference == 0;
  }
  [[nodiscard]] ABSL_ATTRIBUTE_ALWAYS_INLINE bool matches_inline(
      const TextKey& key) const noexcept {
    return has_label(label_of(key)) && equal(id_.data(), key);
  }

  // The same for any id. `is_current()` tells whether what was read since the stamp belongs
  // together; if it does not, true means nothing, and the caller finds that out by asking again.
  template <std::size_t Words>
  [[nodiscard]] bool matches(const FixedKey<Words>& key, const auto&) const noexcept {
    return matches_inline(key);
  }
  [[nodiscard]] bool matches(const TextKey& key, const auto& is_current) const noexcept {
    if (!needs_block(key)) return matches_inline(key);
    if (!has_label(label_of(key))) return false;
    const LongId id = long_id();
    // The three words are one id's only if neither the stamp nor the array's version has moved on.
    // That has to be known before the block is entered: what was read might be no address at all.
    if (!is_current()) return true;
    return id.hash == key.hash && id.size == key.id.size() && equal(id.block->words(), key);
  }

  // The placement in one of the two buffers: the active one is the origin.
  [[nodiscard]] Placement placement(std::size_t buffer) const noexcept {
    Placement copy;
    for (std::size_t i = 0; i < PlacementWords; ++i) {
      copy[i] = placements_[buffer][i].load(std::memory_order_acquire);  // (4) pairs with (3)
    }
    return copy;
  }

  // Copies the id. False if the cell changed meanwhile. True says no more than that the copy could
  // be made: like a placement it is the id's only if the stamp is still the same afterwards.
  template <std::size_t Words>
  [[nodiscard]] bool copy_id(std::array<std::uint64_t, Words>& words, const auto&) const noexcept {
    for (std::size_t i = 0; i < Words; ++i) {
      words[i] = id_[i].load(std::memory_order_acquire);  // (4)
    }
    return true;
  }
  [[nodiscard]] bool copy_id(std::string& text, const auto& is_current) const {
    const auto label = static_cast<std::uint32_t>(label_.load(std::memory_order_acquire));  // (4)
    const Word* words = id_.data();
    std::size_t size = label >> kLengthShift;
    if (size == kLongId) {
      const LongId id = long_id();
      if (!is_current()) return false;
      words = id.block->words();
      size = id.size;
    }
    text.resize(size);
    for (std::size_t i = 0; i < words_for(size); ++i) {
      put_text_word(text.data(), size, i, words[i].load(std::memory_order_acquire));  // (4)
    }
    return true;
  }

  // ---- for the holder of the shard's mutex ----

  void publish(Stamp stamp) noexcept {
    // (2) pairs with (1). In the total order because a stamp can take permission to write away,
    // and then whoever was counted before must be seen, and whoever counts after must see: (P1).
    stamp_.store(stamp.word(), std::memory_order_seq_cst);
  }

  void store_placement(std::size_t buffer, const Placement& placement) noexcept {
    for (std::size_t i = 0; i < PlacementWords; ++i) {
      placements_[buffer][i].store(placement[i], std::memory_order_release);  // (3)
    }
  }

  // (C2). `block` holds the bytes of an id that does not fit, and is null otherwise.
  template <std::size_t Words>
  void store_id(const FixedKey<Words>& key, std::uint32_t counter, IdBlock*) noexcept {
    store_label(0, counter);
    for (std::size_t i = 0; i < Words; ++i) {
      id_[i].store(key.id[i], std::memory_order_release);  // (3)
    }
  }
  void store_id(const TextKey& key, std::uint32_t counter, IdBlock* block) noexcept {
    store_label(label_of(key), counter);
    if (block == nullptr) {
      store_text(id_.data(), key);
      return;
    }
    store_text(block->words(), key);
    id_[0].store(reinterpret_cast<std::uintptr_t>(block), std::memory_order_release);  // (3)
    id_[1].store(key.id.size(), std::memory_order_release);                            // (3)
    id_[2].store(key.hash, std::memory_order_release);                                 // (3)
  }

  // Everything but the stamp, from a cell of the array that this one's array replaces.
  void copy_content_of(const Cell& other) noexcept {
    copy_word(label_, other.label_);
    for (std::size_t i = 0; i < kIdWords; ++i) copy_word(id_[i], other.id_[i]);
    for (std::size_t buffer = 0; buffer < 2; ++buffer) {
      for (std::size_t i = 0; i < PlacementWords; ++i) {
        copy_word(placements_[buffer][i], other.placements_[buffer][i]);
      }
    }
  }

  // The block of a long id, null for an id that fits.
  [[nodiscard]] IdBlock* id_block(const TextKey*) const noexcept {
    const auto label = static_cast<std::uint32_t>(label_.load(std::memory_order_relaxed));
    return (label >> kLengthShift) == kLongId ? long_id().block : nullptr;
  }
  template <std::size_t Words>
  [[nodiscard]] IdBlock* id_block(const FixedKey<Words>*) const noexcept {
    return nullptr;
  }

  [[nodiscard]] static constexpr bool needs_block(const TextKey& key) noexcept {
    return key.id.size() > kInlineBytes;
  }
  template <std::size_t Words>
  [[nodiscard]] static constexpr bool needs_block(const FixedKey<Words>&) noexcept {
    static_assert(Words <= kIdWords, "an id of plain bytes fits its cell");
    return false;
  }

  // The hash of the id in the cell: the mutex is held, so the id does not change.
  template <std::size_t Words>
  [[nodiscard]] std::uint64_t hash_of(const FixedKey<Words>*) const noexcept {
    std::array<std::uint64_t, Words> words;
    for (std::size_t i = 0; i < Words; ++i) words[i] = id_[i].load(std::memory_order_relaxed);
    return FixedKey<Words>(words).hash;
  }
  [[nodiscard]] std::uint64_t hash_of(const TextKey*) const noexcept {
    const auto label = static_cast<std::uint32_t>(label_.load(std::memory_order_relaxed));
    const std::size_t size = label >> kLengthShift;
    if (size == kLongId) return long_id().hash;
    std::array<char, kInlineBytes> text;
    for (std::size_t i = 0; i < words_for(size); ++i) {
      put_text_word(text.data(), size, i, id_[i].load(std::memory_order_relaxed));
    }
    return TextKey(std::string_view(text.data(), size)).hash;
  }

 private:
  // The label: bits 63..32 the partition's counter, 31..16 the id's length, 15..0 its hash's tag.
  static constexpr unsigned kLengthShift = 16;
  static constexpr std::uint32_t kLongId = 0xFFFF;

  struct LongId {
    IdBlock* block;
    std::size_t size;
    std::uint64_t hash;
  };

  [[nodiscard]] bool has_label(std::uint32_t label) const noexcept {
    return static_cast<std::uint32_t>(label_.load(std::memory_order_acquire)) == label;  // (4)
  }

  static constexpr std::uint32_t label_of(const TextKey& key) noexcept {
    const auto tag = static_cast<std::uint16_t>(key.hash >> 16);
    const std::size_t size = key.id.size();
    const std::uint32_t length = size <= kInlineBytes ? static_cast<std::uint32_t>(size) : kLongId;
    return (length << kLengthShift) | tag;
  }

  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool equal(const Word* words, const TextKey& key) noexcept {
    const char* const text = key.id.data();
    const std::size_t size = key.id.size();
    if (size < 8) [[unlikely]] {
      return size == 0 ||
             words[0].load(std::memory_order_acquire) == short_text_word(text, size);  // (4)
    }
    const std::size_t last = words_for(size) - 1;
    std::uint64_t difference =
        words[last].load(std::memory_order_acquire) ^ word_at(text + size - 8);  // (4)
    // Most ids have a few words: the first two outside the loop are measurably faster.
    if (last >= 2) {
      difference |= words[0].load(std::memory_order_acquire) ^ word_at(text);      // (4)
      difference |= words[1].load(std::memory_order_acquire) ^ word_at(text + 8);  // (4)
      for (std::size_t i = 2; i < last; ++i) {
        difference |= words[i].load(std::memory_order_acquire) ^ word_at(text + 8 * i);  // (4)
      }
    } else if (last == 1) {
      difference |= words[0].load(std::memory_order_acquire) ^ word_at(text);  // (4)
    }
    return difference == 0;
  }

  static void store_text(Word* words, const TextKey& key) noexcept {
    for (std::size_t i = 0; i < words_for(key.id.size()); ++i) {
      words[i].store(text_word(key.id.data(), key.id.size(), i), std::memory_order_release);  // (3)
    }
  }

  static void copy_word(Word& to, const Word& from) noexcept {
    // The source does not change while the mutex is held.
    to.store(from.load(std::memory_order_relaxed), std::memory_order_release);  // (3)
  }

  void store_label(std::uint32_t label, std::uint32_t counter) noexcept {
    label_.store((std::uint64_t{counter} << 32) | label, std::memory_order_release);  // (3)
  }

  [[nodiscard]] LongId long_id() const noexcept
    requires(kIdWords >= 3)
  {
    return {reinterpret_cast<IdBlock*>(
                static_cast<std::uintptr_t>(id_[0].load(std::memory_order_acquire))),  // (4)
            static_cast<std::size_t>(id_[1].load(std::memory_order_acquire)),          // (4)
            id_[2].load(std::memory_order_acquire)};                                   // (4)
  }

  Word stamp_;
  Word label_;
  std::array<std::array<Word, PlacementWords>, 2> placements_;
  std::array<Word, kIdWords> id_;  // last, for a short one leaves its end, and a line, untouched
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_CELL_HPP_
