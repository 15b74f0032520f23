// SPDX-License-Identifier: Apache-2.0
//
// A shard that grows while it is read (detail/shard_view.hpp, detail/shard.hpp, tag_group.hpp): two
// arrays that take turns, so that an array that was retired comes back with the same id at the same
// epoch in the same cell. All ids have one tag. What is said and what is not: README.md. Each #ifdef takes one order away.
#include "stamp.pml"

#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef GROWTHS
#define GROWTHS 2
#endif
#define CELLS 2  // the capacity of each array; every id's home is the first group
#ifndef GROUP
#define GROUP 1  // cells to a group: one, so that probes go on from group to group, or both
#endif

// A tag.
#define EMPTY 0
#define FREED 1
#define TAKEN 2

typedef Cell {
  byte stamp;
  byte id;
  byte word  // of the placement, which is called by the epoch at which it came
};
typedef Array {
  Cell cell[CELLS];
  byte tag[CELLS]
};
Array arrays[2];

// The view.
byte array;    // which of the two
byte next;     // 0: none; else one more than which
byte version;

// The shard, for the holder of the mutex.
byte generation;
byte growths;
byte move_at;
bit retired;  // the other array is to be scrubbed

// What was true, for the assertions.
byte now;   // X's epoch; 0: absent
byte seen;  // bit e: X was at epoch e at an instant of the reader's lookup

inline note(epoch) {
  now = epoch;
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

inline change_takes_effect(key, epoch) {
  if
  :: key == X -> note(epoch)
  :: else
  fi
}

inline set(key) {
  d_step {
    find(key);
    e = generation + 1;
    was = (at < CELLS);
    if
    :: !was ->
       a = target;
       find_free(a)
    :: else
    fi
  };
  if
  :: at == CELLS -> skip  // no room: not in this model
  :: at < CELLS && was ->  // in place: here only the stamp and one word; the rest is cell.pml's
     atomic {
       arrays[a].cell[at].word = e;
       arrays[a].cell[at].stamp = LIVE(e, Settled, 0);
       change_takes_effect(key, e);
       generation = e
     }
  :: at < CELLS && !was ->
     take_slot(a)
     arrays[a].cell[at].id = key;
     arrays[a].cell[at].word = e;
     atomic {
       arrays[a].cell[at].stamp = LIVE(e, Settled, 0);
       change_takes_effect(key, e);
       generation = e
     }
     tag_after_stamp(a)
  fi
}

inline erase(key) {
  d_step { find(key) };
  if
  :: at == CELLS -> skip
  :: at < CELLS ->
     atomic {
       arrays[a].cell[at].stamp = VACANT;
       change_takes_effect(key, 0);
       generation = generation + 1
     };
     free_slot(a)
  fi
}

// apply of a state that does not fit the cell: a second cell, to which the first gives way.
inline apply(key) {
  d_step {
    find(key);
    first_a = a;
    first = at;
    a = target;
    find_free(a)
  };
  if
  :: first == CELLS || at == CELLS -> skip
  :: first < CELLS && at < CELLS ->
     e = generation + 1;
#if !defined(GIVES_WAY_FIRST) && !defined(DUPLICATES_UNDER_OLD_VERSION)
     // Who passed the first cell's place before the id came there, and meets the second before
     // the first gives way, would be ahead of the lookups that follow.
     version++;
#endif
     take_slot(a)
     arrays[a].cell[at].id = key;  // duplicate
     arrays[a].cell[at].word = e;
#ifdef GIVES_WAY_FIRST
     give_way();
     publish_duplicate(key)
#else
     publish_duplicate(key);
     give_way()
#endif
  fi
}

// It takes effect where a lookup that begins now meets it: at once, if it stands before the first
// cell; else when the first cell gives way.
#define stands_before (a == first_a && at < first)

inline publish_duplicate(key) {
  atomic {
    arrays[a].cell[at].stamp = LIVE(e, Settled, 0);
    generation = e;
    if
    :: stands_before -> note(e)
    :: else
    fi
  }
  tag_after_stamp(a)
}

inline give_way() {
#if !defined(GIVES_WAY_WITHOUT_VERSION) && !defined(GIVES_WAY_BEFORE_VERSION)
  version++;
#endif
  atomic {
    arrays[first_a].cell[first].stamp = VACANT;
    if
    :: !stands_before -> note(e)
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
  version++;
  next = 0;
#else
#ifdef VERSION_BEFORE_ARRAY
  version++;
  array = a;
  next = 0;
#else
#ifdef NEXT_NONE_BEFORE_VERSION
  array = a;
  next = 0;
  version++;
#else
  array = a;
  version++;
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
     :: generation < EPOCHS -> set(X)
     :: generation < EPOCHS -> set(Y)
     :: generation < EPOCHS -> erase(X)
     :: generation < EPOCHS -> erase(Y)
     :: generation < EPOCHS -> apply(X)
     :: next == 0 && !retired && growths < GROWTHS ->
        growths++;
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
  :: generation == EPOCHS && growths == GROWTHS && next == 0 && !retired -> break
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
  byte last = 0;  // the newest epoch it has seen
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
       n = first_probe
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
     if
     :: cell_here.stamp != s -> goto torn
     :: else
     fi;
     atomic {  // a hit
       if
#ifndef NO_VERSION_CHECK_ON_HIT
       :: version != v -> goto torn
#endif
       :: else
       fi;
       assert((seen & (1 << EPOCH(s))) != 0);
       assert(w == EPOCH(s));
       assert(EPOCH(s) >= last);
       last = EPOCH(s);
       goto done
     };
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
       v = 0; in = 0; i = 0; s = 0; w = 0; n = first_probe; tags[0] = 0; tags[GROUP - 1] = 0;
       goto start
     };
done:
     atomic { v = 0; in = 0; i = 0; s = 0; w = 0; n = 0; tags[0] = 0; tags[GROUP - 1] = 0 }
  od
}
