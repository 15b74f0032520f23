// SPDX-License-Identifier: Apache-2.0
//
// A shard that grows while it is read (detail/shard_view.hpp, detail/shard.hpp, tag_group.hpp): two
// arrays that take turns, so that an array that was retired comes back with the same id at the same
// epoch in the same cell. With SHARED, the changes do not draw their epochs but apply them, and all
// partitions share a few. All ids have one tag. Who reads looks up; or, with REFERENCE, asks again
// what a lookup found; or, with ACQUIRER, looks up and looks at the stamp once more (P2).
// What is said and what is not: README.md. Each other #ifdef takes one order away.
#include "stamp.pml"

#ifndef CHANGES
#define CHANGES 3
#endif
#ifndef SHARED
#define SHARED 0  // so many epochs; none: each change has its own
#endif
#ifndef GROWTHS
#define GROWTHS 2
#endif
#define CELLS 2  // the capacity of each array; every id's home is the first group
#ifndef GROUP
#define GROUP 1  // cells to a group: one, so that probes go on from group to group, or both
#endif

// A placement is called by the number of the change that brought it, and its epoch.
#define WORD(change, epoch) ((change) * 16 + (epoch))
#define CHANGE(word) ((word) >> 4)

// A tag.
#define EMPTY 0
#define FREED 1
#define TAKEN 2

typedef Cell {
  byte stamp;
  byte id;
  byte word  // of the placement
};
typedef Array {
  Cell cell[CELLS];
  byte tag[CELLS]
};
Array arrays[2];

// The view.
byte array;    // which of the two
byte next;     // 0: none; else one more than which
byte version;  // odd: a partition is between two cells
#define even_of(v) ((v) / 2 * 2)

// The shard, for the holder of the mutex.
byte changes;
byte vacated;  // the greatest epoch that left a cell of the target since the version was renewed
byte growths;
byte move_at;
bit retired;  // the other array is to be scrubbed

// What was true, for the assertions.
byte now;   // the change that X is at; 0: absent
byte seen;  // bit n: X was at change n at an instant of the reader's call
byte first_still;  // of a partition that has two cells: the change of the first

inline note(change) {
  now = change;
  seen = seen | (1 << now)
}

#define target (next != 0 -> next - 1 : array)

// The first cell on the way that is not taken; CELLS if there is none.
inline find_free(in_array) {
  at = 0;
  do
  :: at < CELLS && arrays[in_array].tag[at] == TAKEN -> at++
  :: else -> break
  od
}

// A slot of the target is taken for a stamp with this epoch, which may be that of a former occupant.
inline renew_for(epoch) {
  if
  :: epoch <= vacated ->
#ifdef RENEWS_BY_ONE
     version++;
#else
     version = version + 2;
#endif
     vacated = 0
  :: else
  fi
}

// A stamp with this epoch has left a cell.
inline note_vacated(of_array, epoch) {
  if
#ifdef NOTES_THE_LAST
  :: of_array == target -> vacated = epoch
#else
  :: of_array == target && epoch > vacated -> vacated = epoch
#endif
  :: else
  fi
}

// The tag of a cell is set before its stamp accepts readers, and cleared after it accepts no more.
#ifdef TAGS_AFTER_STAMP
#define take_slot(in_array)
#define tag_after_stamp(in_array) ; arrays[in_array].tag[at] = TAKEN
#else
#define take_slot(in_array) arrays[in_array].tag[at] = TAKEN;
#define tag_after_stamp(in_array)
#endif

// If no probe went on past the group before, none needs to now: the cell is empty again.
#if GROUP == 1
#define group_has_empty(in_array) (arrays[in_array].tag[at] == EMPTY)
#else
#define group_has_empty(in_array) \
  (arrays[in_array].tag[0] == EMPTY || arrays[in_array].tag[1] == EMPTY)
#endif
inline free_slot(in_array) {
#ifdef FREES_WITHOUT_LOOKING
  arrays[in_array].tag[at] = EMPTY
#else
  arrays[in_array].tag[at] = (group_has_empty(in_array) -> EMPTY : FREED)
#endif
}

// Where `key` is: in array `a`, at cell `at`; CELLS if it is not there.
inline find(key) {
  a = array;
  at = 0;
  do
  :: at < CELLS && !(HAS_ID(arrays[a].cell[at].stamp) && arrays[a].cell[at].id == key) -> at++
  :: at == CELLS && next != 0 && a == array -> a = next - 1; at = 0
  :: else -> break
  od
}

inline change_takes_effect(key, change) {
  if
  :: key == X -> note(change)
  :: else
  fi
}

// An epoch for a change of the partition that was found, or not found: `e`; 0 if there is none.
inline choose_epoch() {
#if SHARED == 0
  e = changes + 1
#else
  if
  :: at == CELLS -> e = 0
  :: at < CELLS -> e = EPOCH(arrays[a].cell[at].stamp)
  fi;
  if
  :: e < 1 -> e = 1
  :: e < 2 && SHARED >= 2 -> e = 2
  :: e >= SHARED -> e = 0
  fi
#endif
}

#define content WORD(changes + 1, e)

// `set` or `apply`.
inline set(key) {
  atomic {
    d_step { find(key) };
    choose_epoch();
    was = (at < CELLS);
    if
    :: !was ->
       a = target;
       find_free(a)
    :: else
    fi
  };
  if
  :: at == CELLS || e == 0 -> skip  // no room: not in this model
  :: at < CELLS && e != 0 && was ->  // in place: here only the stamp and one word; the rest is cell.pml's
     atomic {
       arrays[a].cell[at].word = content;
       arrays[a].cell[at].stamp = LIVE(e, Settled, 0);
       change_takes_effect(key, changes + 1);
       changes++
     }
  :: at < CELLS && e != 0 && !was ->
#if !defined(INSERTS_WITHOUT_RENEWAL) && !defined(RENEWS_AFTER_WORDS) && \
    !defined(RENEWS_AFTER_STAMP)
     renew_for(e);
#endif
     take_slot(a)
     arrays[a].cell[at].id = key;
     arrays[a].cell[at].word = content;
#ifdef RENEWS_AFTER_WORDS
     renew_for(e);
#endif
     atomic {
       arrays[a].cell[at].stamp = LIVE(e, Settled, 0);
       change_takes_effect(key, changes + 1);
       changes++
     }
#ifdef RENEWS_AFTER_STAMP
     ;
     renew_for(e)
#endif
     tag_after_stamp(a)
  fi
}

// Of a replica: erased, and that forgotten.
inline erase(key) {
  d_step { find(key) };
  if
  :: at == CELLS -> skip
  :: at < CELLS ->
     d_step { note_vacated(a, EPOCH(arrays[a].cell[at].stamp)) };
     atomic {
       arrays[a].cell[at].stamp = VACANT;
       change_takes_effect(key, 0);
       changes++
     };
     free_slot(a)
  fi
}

// apply of a state that does not fit the cell: a second cell, to which the first gives way.
inline apply(key) {
  atomic {
    d_step { find(key) };
    choose_epoch();
    first_a = a;
    first = at;
    a = target;
    find_free(a)
  };
  if
  :: first == CELLS || at == CELLS || e == 0 -> skip
  :: first < CELLS && at < CELLS && e != 0 ->
#ifndef DUPLICATES_WITHOUT_RENEWAL
     renew_for(e);
#endif
#if !defined(GIVES_WAY_FIRST) && !defined(DUPLICATES_UNDER_OLD_VERSION)
     // Who passed the first cell's place before the id came there, and meets the second before
     // the first gives way, would be ahead of the lookups that follow.
     version++;
#endif
     take_slot(a)
     arrays[a].cell[at].id = key;  // duplicate
     arrays[a].cell[at].word = content;
#ifdef GIVES_WAY_FIRST
     give_way(key);
     publish_duplicate(key)
#else
     publish_duplicate(key);
     give_way(key)
#endif
  fi
}

// It takes effect where a lookup that begins now meets it: at once, if it stands before the first
// cell; else when the first cell gives way.
#define stands_before (a == first_a && at < first)

inline publish_duplicate(key) {
  atomic {
    arrays[a].cell[at].stamp = LIVE(e, Settled, 0);
    changes++;
    if
    :: key == X && stands_before -> first_still = now; note(changes)
    :: else
    fi
  }
  tag_after_stamp(a)
}

inline give_way(key) {
#if !defined(GIVES_WAY_WITHOUT_VERSION) && !defined(GIVES_WAY_BEFORE_VERSION)
  version++;
#endif
#ifndef GIVES_WAY_UNNOTED
  d_step { note_vacated(first_a, EPOCH(arrays[first_a].cell[first].stamp)) };
#endif
  atomic {
    arrays[first_a].cell[first].stamp = VACANT;
    if
    :: key == X && stands_before -> first_still = 0
    :: key == X && !stands_before -> note(changes)
    :: else
    fi
  }
#ifdef GIVES_WAY_BEFORE_VERSION
  ;
  version++
#endif
  ;
  d_step { second = at; at = first };
  free_slot(first_a);
  d_step { at = second; second = 0 }
}

#ifdef MOVED_BEFORE_NEXT
byte unpublished_next;
#define next_array (unpublished_next - 1)
#else
#define next_array (next - 1)
#endif

inline move_cell() {
  if
  :: HAS_ID(arrays[array].cell[move_at].stamp) ->
     d_step { find_free(next_array) };
#ifndef MOVES_WITHOUT_RENEWAL
     renew_for(EPOCH(arrays[array].cell[move_at].stamp));
#endif
     take_slot(next_array)
     arrays[next_array].cell[at].id = arrays[array].cell[move_at].id;
     arrays[next_array].cell[at].word = arrays[array].cell[move_at].word;
#ifdef MOVED_BEFORE_CELL
     stamp_moved = arrays[array].cell[move_at].stamp;
     arrays[array].cell[move_at].stamp = MOVED;
     arrays[next_array].cell[at].stamp = stamp_moved;
     stamp_moved = 0;
#else
     arrays[next_array].cell[at].stamp = arrays[array].cell[move_at].stamp;
     arrays[array].cell[move_at].stamp = MOVED
     tag_after_stamp(next_array);
#endif
     move_at++
  :: else -> move_at++
  fi
}

inline scrub(in_array) {
  at = 0;
  do
  :: at < CELLS ->
     arrays[in_array].tag[at] = EMPTY;
     arrays[in_array].cell[at].stamp = VACANT;
     arrays[in_array].cell[at].id = 0;
     arrays[in_array].cell[at].word = 0;
     at++
  :: else -> at = 0; break
  od
}

// install(next): array, (V1) version, next = none; then (V2).
inline finish_growth() {
  move_at = 0;
  a = next_array;
  e = array;
#ifdef SCRUBS_BEFORE_VERSION
  array = a;
  scrub(e);
  version = version + 2;
  next = 0;
#else
#ifdef VERSION_BEFORE_ARRAY
  version = version + 2;
  array = a;
  next = 0;
#else
#ifdef NEXT_NONE_BEFORE_VERSION
  array = a;
  next = 0;
  version = version + 2;
#else
  array = a;
  version = version + 2;
  next = 0;
#endif
#endif
  retired = 1
#endif
}

// The holder of the mutex. A critical section is one or more of these: the model stops between any
// two of them.
active proctype Writer() {
  byte e, a, at, first_a, first, second;
  bit was;
#ifdef MOVED_BEFORE_CELL
  byte stamp_moved;
#endif
  do
  :: d_step { e = 0; a = 0; at = 0; first_a = 0; first = 0; was = 0 };
     if
     :: changes < CHANGES -> set(X)
     :: changes < CHANGES -> set(Y)
     :: changes < CHANGES -> erase(X)
     :: changes < CHANGES -> erase(Y)
     :: changes < CHANGES -> apply(X)
#if SHARED > 0
     :: changes < CHANGES -> apply(Y)
#endif
     :: next == 0 && !retired && growths < GROWTHS ->
        growths++;
        vacated = 0;  // nobody has been in the new target under this version
#ifdef MOVED_BEFORE_NEXT
        unpublished_next = 2 - array;
        do
        :: move_at < CELLS -> move_cell()
        :: else -> break
        od;
        next = unpublished_next
#else
        next = 2 - array
#endif
     :: next != 0 && move_at < CELLS -> move_cell()
     :: next != 0 && move_at == CELLS -> finish_growth()
     :: retired ->
        scrub(1 - array);
        retired = 0
     fi
  :: changes == CHANGES && growths == GROWTHS && next == 0 && !retired -> break
  od
}

// A lookup of X, again and again.
#define cell_here arrays[in].cell[i]

active proctype Reader() {
  byte v, in, i, s, w;
  byte tags[GROUP];
  byte n;         // which of the two probes
#ifdef TAGS_LOADED_BEFORE_ARRAY
  byte early, guess;
#endif
  bit version_first;
  byte last = 0;  // the newest change it has seen
#if defined(REFERENCE) || defined(ACQUIRER)
  byte kept_version;
#endif
#ifdef REFERENCE
  byte kept_in, kept_i, kept_s, kept_w;  // kept_s is 0: it has found nothing
#endif
#ifdef ACQUIRER
  bit is_true;
#endif
#ifdef NEXT_BEFORE_ARRAY
#define first_probe 1
#define second_probe 0
#else
#define first_probe 0
#define second_probe 1
#endif
  do
  :: atomic {
       seen = (1 << now);
       n = first_probe;
#ifdef REFERENCE  // is_current
       if
       :: kept_s == 0 -> goto find_anew
       :: kept_s != 0 && arrays[kept_in].cell[kept_i].stamp != kept_s -> goto find_anew
       :: else
       fi
     };
     atomic {
       if
#ifndef REFERENCE_WITHOUT_VERSION
       :: version != kept_version -> goto find_anew
#endif
       :: else
       fi;
       assert((seen & (1 << CHANGE(kept_w))) != 0);
       assert(CHANGE(kept_w) >= last);
       last = CHANGE(kept_w);
       goto done
     };
find_anew:
     atomic {
       kept_in = 0; kept_i = 0; kept_s = 0; kept_w = 0;
#endif
#if defined(REFERENCE) || defined(ACQUIRER)
#ifdef KEEPS_ODD_VERSION
       kept_version = version
#else
       kept_version = even_of(version)
#endif
#endif
     };
start:
#ifdef VERSION_LOADED_LATE  // version's first load relaxed: the array is loaded before it
     in = array;
     v = version;
     goto group;
#else
     v = version;
#endif
arrays_of_view:
#ifdef TAGS_LOADED_BEFORE_ARRAY  // array's load relaxed: the first tags come before the address
     if
     :: n == 0 && guess == 0 -> early = arrays[0].tag[0]; guess = 1
     :: n == 0 && guess == 0 -> early = arrays[1].tag[0]; guess = 2
     :: n == 0 && guess == 0
     :: else
     fi;
#endif
     if
#ifdef TAGS_LOADED_BEFORE_ARRAY
     :: n == 0 ->
        in = array;
        if
        :: guess == in + 1 -> tags[0] = early; early = 0; guess = 0; goto probe
        :: else -> early = 0; guess = 0
        fi
#else
     :: n == 0 -> in = array
#endif
     :: n == 1 ->
        atomic {
          if
          :: next == 0 -> goto miss
          :: else -> in = next - 1
          fi
        }
     fi;
group: skip;
#ifdef TAGS_LOADED_LATE  // tags loaded relaxed, after the second look at the version
     if
     :: version != v -> goto torn
     :: else
     fi;
#endif
#if GROUP == 1
     tags[0] = arrays[in].tag[i];
#else
     d_step { tags[0] = arrays[in].tag[0]; tags[1] = arrays[in].tag[1] };
#endif
probe:
     if
     :: tags[i % GROUP] != TAKEN -> goto next_cell
     :: else
     fi;
     s = cell_here.stamp;
     if
     :: !HAS_ID(s) -> goto next_cell
     :: else
     fi;
     if
     :: cell_here.id != X -> goto next_cell
     :: else
     fi;
     w = cell_here.word;
     atomic {
       if
       :: version_first = 0
#ifdef LOOKS_AGAIN_RELAXED  // the second look at the stamp: then that at the version may come first
       :: version_first = 1
#endif
       fi;
       if
       :: version_first && version != v -> goto torn
       :: !version_first && cell_here.stamp != s -> goto torn
       :: else
       fi
     };
     atomic {  // a hit
       if
#ifndef NO_VERSION_CHECK_ON_HIT
       :: !version_first && version != v -> goto torn
#endif
       :: version_first && cell_here.stamp != s -> goto torn
       :: else
       fi;
       version_first = 0;
       assert((seen & (1 << CHANGE(w))) != 0);
       assert(w == WORD(CHANGE(w), EPOCH(s)));
       assert(CHANGE(w) >= last);
       last = CHANGE(w);
#ifdef REFERENCE
       kept_in = in; kept_i = i; kept_s = s; kept_w = w;
#endif
#ifndef ACQUIRER
       goto done
     };
#else
       skip
     };
     atomic {  // (P2)
       if
       :: cell_here.stamp != s -> goto taken_back
       :: else
       fi;
       // X is at that change, or the change to its second cell is still under way.
       is_true = (now == CHANGE(w) || first_still == CHANGE(w))
     };
     atomic {
       if
#ifndef ACQUIRES_WITHOUT_VERSION
       :: even_of(version) != kept_version -> goto taken_back
#endif
       :: else
       fi;
       assert(is_true);
       goto done
     };
taken_back:
     atomic {
       is_true = 0;
       goto done
     };
#endif
next_cell:
     atomic {
       s = 0;
       i++;
       if
       :: i % GROUP != 0 -> goto probe
       :: i % GROUP == 0 && i < CELLS && !(tags[0] == EMPTY || tags[GROUP - 1] == EMPTY) ->
          goto group
       :: else
       fi
     };
#ifdef VERSION_LOOKED_AT_EARLY  // `next` loaded relaxed, after the second look at the version
     if
     :: n == first_probe && version != v -> goto torn
     :: else
     fi;
#endif
     atomic {
       i = 0;
       in = 0;
       tags[0] = 0;
       tags[GROUP - 1] = 0;
       if
       :: n == first_probe -> n = second_probe; goto arrays_of_view
       :: else
       fi
     };
miss:
     atomic {
#ifdef NEXT_BEFORE_ARRAY
       if
       :: n == first_probe -> n = second_probe; goto arrays_of_view
       :: else
       fi;
#endif
       if
#if !defined(NO_VERSION_CHECK_ON_MISS) && !defined(VERSION_LOOKED_AT_EARLY) && \
    !defined(TAGS_LOADED_LATE)
       :: version != v -> goto torn
#endif
       :: else
       fi;
       assert((seen & 1) != 0);
       goto done
     };
torn:
     atomic {
       version_first = 0;
       v = 0; in = 0; i = 0; s = 0; w = 0; n = first_probe; tags[0] = 0; tags[GROUP - 1] = 0;
       goto start
     };
done:
     atomic {
#ifdef ACQUIRER
       is_true = 0; kept_version = 0;
#endif
       v = 0; in = 0; i = 0; s = 0; w = 0; n = 0; tags[0] = 0; tags[GROUP - 1] = 0 }
  od
}
