// SPDX-License-Identifier: Apache-2.0
//
// One cell: its stamp, its id, its two buffers (detail/cell.hpp), read while it changes.
// What is said and what is not: README.md. Each #ifdef takes one order away.
#include "stamp.pml"

#ifndef EPOCHS
#define EPOCHS 5
#endif
#ifndef READERS
#define READERS 2
#endif

typedef Buffer {
  byte word[2]
};

byte stamp;
byte id[2];
Buffer placements[2];
byte generation;

// What was true, for the assertions.
byte origin_of[EPOCHS + 2];       // by epoch
byte destination_of[EPOCHS + 2];  // by epoch; of a migration
byte now;                         // X's epoch; 0: absent
byte seen[2];                     // bit e: X was at epoch e at an instant of the reader's lookup

inline note(epoch) {
  now = epoch;
  seen[0] = seen[0] | (1 << now);
  seen[1] = seen[1] | (1 << now)
}

// (2). The change takes effect here.
inline publish(s, o, d) {
  atomic {
    origin_of[EPOCH(s)] = o;
    destination_of[EPOCH(s)] = d;
    stamp = s;
    if
    :: id_held == X -> note(EPOCH(s))
    :: else
    fi
  }
}

inline vacate() {
  atomic {
    stamp = VACANT;
    if
    :: id_held == X -> note(0)
    :: else
    fi
  }
}

// (3)
inline store_placement(buffer, p) {
  placements[buffer].word[0] = p;
  placements[buffer].word[1] = p
}

inline store_id(key) {
  id[0] = key;
  id[1] = key
}

#define is_settled (PHASE(stamp) == Settled)
#define is_migrating (PHASE(stamp) == Draining || PHASE(stamp) == Cutover)
#define may_change (generation < EPOCHS)

// The holder of the mutex. Critical sections do not overlap, so one process stands for all writers.
// A placement is called by the epoch at which it came.
active proctype Writer() {
  byte id_held = 0;  // whose cell it is
  byte e = 0;
  byte b = 0;
  do
  :: id_held == 0 && may_change ->  // insert, set
     e = generation + 1;
     if
     :: id_held = X
     :: id_held = Y
     fi;
     b = 1 - ACTIVE(stamp);
#ifdef ID_AFTER_STAMP  // (C2)
     store_placement(b, e);
     publish(LIVE(e, Settled, b), e, 0);
     store_id(id_held);
#else
     store_id(id_held);
     store_placement(b, e);
     publish(LIVE(e, Settled, b), e, 0);
#endif
     generation = e
  :: id_held != 0 && is_settled && may_change ->  // set
     e = generation + 1;
#ifdef WRITES_ACTIVE_BUFFER  // (C1)
     b = ACTIVE(stamp);
#else
     b = 1 - ACTIVE(stamp);
#endif
#ifdef PUBLISH_BEFORE_WORDS  // (C3), or (2) relaxed
     publish(LIVE(e, Settled, b), e, 0);
     store_placement(b, e);
#else
     store_placement(b, e);
     publish(LIVE(e, Settled, b), e, 0);
#endif
     generation = e
#ifdef WORDS_BEFORE_PREVIOUS_STAMP  // (3) relaxed: a word becomes visible before an older stamp
  :: id_held != 0 && is_settled && generation + 1 < EPOCHS ->  // set, set
     e = generation + 1;
     b = 1 - ACTIVE(stamp);
     store_placement(b, e);
     placements[1 - b].word[0] = e + 1;
     publish(LIVE(e, Settled, b), e, 0);
     placements[1 - b].word[1] = e + 1;
     publish(LIVE(e + 1, Settled, 1 - b), e + 1, 0);
     generation = e + 1
#endif
#ifdef SET_OVER_DESTINATION  // (C1) for those who read both buffers
  :: id_held != 0 && is_migrating && may_change ->  // set
     e = generation + 1;
     b = 1 - ACTIVE(stamp);
     store_placement(b, e);
     publish(LIVE(e, Settled, b), e, 0);
     generation = e
#else
  // set: another placement goes into a second cell, and this one gives way to it (growth.pml);
  :: id_held != 0 && is_migrating && may_change ->
     vacate();
     id_held = 0
  // the destination's own words are there already.
  :: id_held != 0 && is_migrating && may_change ->
     e = generation + 1;
     b = 1 - ACTIVE(stamp);
     store_placement(b, destination_of[EPOCH(stamp)]);
     publish(LIVE(e, Settled, b), destination_of[EPOCH(stamp)], 0);
     generation = e
#endif
  :: id_held != 0 && is_settled && may_change ->  // begin_migration
     e = generation + 1;
     b = ACTIVE(stamp);
     store_placement(1 - b, e);
     publish(LIVE(e, Draining, b), origin_of[EPOCH(stamp)], e);
     generation = e
  :: PHASE(stamp) == Draining && may_change ->  // enter_cutover
     e = generation + 1;
     publish(LIVE(e, Cutover, ACTIVE(stamp)), origin_of[EPOCH(stamp)], destination_of[EPOCH(stamp)]);
     generation = e
  :: PHASE(stamp) == Cutover && may_change ->  // complete_migration: the flip
     e = generation + 1;
     publish(LIVE(e, Settled, 1 - ACTIVE(stamp)), destination_of[EPOCH(stamp)], 0);
     generation = e
  :: is_migrating && may_change ->  // abort_migration
     e = generation + 1;
     publish(LIVE(e, Settled, ACTIVE(stamp)), origin_of[EPOCH(stamp)], 0);
     generation = e
  :: id_held != 0 && is_settled && may_change ->  // erase
#ifdef ID_BEFORE_VACATE  // (C2): the next id's words come before the vacant stamp
     id[0] = X + Y - id_held;
#endif
     vacate();
     id_held = 0
  :: !may_change -> break
  od;
  e = 0;
  b = 0
}

// The first look at the stamp is load (1), the words are loads (4), is_still is the second look.
#ifdef STAMP_WITHOUT_EPOCH
#define is_still ((stamp & 15) == (s & 15))
#else
#define is_still (stamp == s)
#endif

inline forget() {
  d_step {
    s = 0; i0 = 0; i1 = 0; o0 = 0; o1 = 0; d0 = 0; d1 = 0; g = 0
  }
}

// Reader 0 calls get, reader 1 calls state, which copies both buffers.
proctype Reader(byte me) {
  byte s, i0, i1, o0, o1, d0, d1, g;
  byte last = 0;  // the newest epoch it has seen
  do
  :: atomic {
       seen[me] = (1 << now);
#ifdef STAMP_LOADED_LATE  // (1) relaxed: a word is loaded before the stamp
       if
       :: g = 0
       :: g = 1
       fi;
       o0 = placements[g].word[0]
     };
#else
       s = stamp
     };
     goto loaded;
#endif
load:
     s = stamp;
loaded:
     if
     :: !HAS_ID(s) -> goto missed
#ifdef STAMP_LOADED_LATE
     :: HAS_ID(s) && ACTIVE(s) != g ->
        o0 = placements[ACTIVE(s)].word[0]
     :: HAS_ID(s) && ACTIVE(s) == g
#else
     :: HAS_ID(s)
#endif
     fi;
     i0 = id[0];
     i1 = id[1];
     if
     :: i0 != X || i1 != X -> goto missed
     :: else
     fi;
#ifndef STAMP_LOADED_LATE
     o0 = placements[ACTIVE(s)].word[0];
#endif
#ifdef LOOKS_AGAIN_EARLY  // (4) relaxed: the second look is before the last word
     if
     :: !is_still -> goto torn
     :: else
     fi;
#endif
     o1 = placements[ACTIVE(s)].word[1];
     if
     :: me == 1 ->
        d0 = placements[1 - ACTIVE(s)].word[0];
        d1 = placements[1 - ACTIVE(s)].word[1]
     :: else
     fi;
     atomic {
       if
#if !defined(NO_SECOND_LOOK) && !defined(LOOKS_AGAIN_EARLY)
       :: !is_still -> goto torn
#endif
       :: else
       fi;
       // INV-M4: one placement, whole, and the right one at an instant of the lookup.
       assert((seen[me] & (1 << EPOCH(s))) != 0);
       assert(o0 == origin_of[EPOCH(s)] && o1 == o0);
       assert(me == 0 || PHASE(s) == Settled || (d0 == destination_of[EPOCH(s)] && d1 == d0));
       assert(EPOCH(s) >= last);
       last = EPOCH(s);
       forget();
       goto next
     };
torn:
     atomic {
       forget();
       goto load
     };
missed:
     atomic {
       assert((seen[me] & 1) != 0);
       forget()
     };
next:
     skip
  od
}

init {
  atomic {
    run Reader(1);
#if READERS > 1
    run Reader(0)
#endif
  }
}
