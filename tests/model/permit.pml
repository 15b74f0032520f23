// SPDX-License-Identifier: Apache-2.0
//
// Write permits against cutover, flip, erase and growth (acquire() in placement_table.hpp,
// detail/write_counters.hpp). With ERASURES, also against pause_writes, claim_migration and so many
// calls of erase_until: a pause, and later the removal, or the way back at the deadline, between
// which anything else may happen. What the holder of the mutex stores without sequential consistency
// waits in a store buffer. What is said and what is not: README.md. Each other #ifdef takes one order
// away.
#include "stamp.pml"

#ifndef EPOCHS
#define EPOCHS 5
#endif
#ifndef GROWTHS
#define GROWTHS 1
#endif
#ifndef ACQUIRERS
#define ACQUIRERS 2
#endif

// In memory. Two arrays of one cell each, and X's two counters to be.
byte stamp[2];
byte label[2];  // the counter's number
typedef Buffers {
  byte placement[2]
};
Buffers cell[2];
byte array;
byte next;  // 0: none; else one more than which
byte count[2];
bit closed[2];
bit mutex;

// The holder's store buffer, first in first out. What is in it, only the holder sees.
#define AT_STAMP 0  // and 1
#define AT_ARRAY 2
#define AT_NEXT 3
chan buffer = [4] of { byte, byte };
// One store that keeps no order with the others (for a variant).
byte late_stamp_of;  // 0: none; else one more than which cell

// Acquirers' increments that are not in memory yet (for a variant): 0, or one more than which.
byte pending[ACQUIRERS];

// The holder's own view.
byte here;      // X's cell
byte at_array;  // array, next as stored last
byte at_next;
byte generation;
byte growths;
bit retired;

// What is true, as memory has it, for the assertions.
byte now;  // X's stamp; VACANT: absent
byte origin;
byte destination;
byte counter;
byte out;  // permits
#ifdef ERASURES
byte erasing_at;  // the epoch of erase_until's pause; 0: no such call is under way
byte erasures;
bit is_erasers;  // the partition's last change was that pause
#endif

#define is_migrating (PHASE(now) == Draining || PHASE(now) == Cutover)
#ifdef REMOVES_WITHOUT_EPOCH
#define is_expected true
#else
#define is_expected (EPOCH(held_stamp) == erasing_at)
#endif
#ifdef REMOVES_WITHOUT_PHASE
#define is_paused true
#else
#define is_paused (PHASE(held_stamp) == Cutover && destination == origin)
#endif

inline keep(where, what) {  // a release store
  atomic { nfull(buffer) -> buffer!where, what }
}

// (2): sequentially consistent, so it waits until all that came before is in memory.
inline publish(c, s) {
  atomic {
    empty(buffer);
    stamp[c] = s;
    now = s
  }
}

// The memory system.
active proctype Memory() {
  byte where, what;
  do
  :: atomic {
       buffer?where, what ->
       if
       :: where < 2 ->
          stamp[where] = what;
          if
          :: HAS_ID(what) -> now = what
          :: else
          fi
       :: where == AT_ARRAY -> array = what
       :: where == AT_NEXT -> next = what
       fi;
       where = 0;
       what = 0
     }
#ifdef MOVED_NOT_IN_TOTAL_ORDER
  :: atomic { late_stamp_of != 0 -> stamp[late_stamp_of - 1] = MOVED; late_stamp_of = 0 }
#endif
#ifdef P1_PLAIN
  :: atomic { pending[0] != 0 -> count[pending[0] - 1]++; pending[0] = 0 }
#if ACQUIRERS > 1
  :: atomic { pending[1] != 0 -> count[pending[1] - 1]++; pending[1] = 0 }
#endif
#endif
  od
}

#define may_change (generation < EPOCHS)
#ifdef ERASURES
#define draw d_step { generation++; is_erasers = 0 }
#else
#define draw generation++
#endif
#define lock mutex = 1
#define unlock mutex = 0

// The holder of the mutex. Taking and leaving the mutex drains nothing: it orders nothing for
// those who do not take it. `held_stamp` is the holder's last stamp of X.
active proctype Writer() {
  byte held_stamp;
  byte k;
  byte seen_count;
  bit present = 1;
#ifdef REMOVES_BY_EARLY_COUNT
  byte early_count;
#endif
  atomic {  // set(X), long ago
    generation = 1;
    cell[0].placement[0] = 1;
    held_stamp = LIVE(1, Settled, 0);
    stamp[0] = held_stamp;
    now = held_stamp;
    origin = 1
  }
  do
  :: present && PHASE(held_stamp) == Settled && may_change ->  // begin_migration
     lock;
     draw;
     held_stamp = LIVE(generation, Draining, ACTIVE(held_stamp));
     cell[here].placement[1 - ACTIVE(held_stamp)] = 3 - origin;
     atomic { publish(here, held_stamp); destination = 3 - origin };
     unlock
  :: present && PHASE(held_stamp) == Draining && may_change ->  // enter_cutover
     lock;
     draw;
     held_stamp = LIVE(generation, Cutover, ACTIVE(held_stamp));
#ifdef COUNT_READ_EARLY  // (P4) before (P3)
     seen_count = count[label[here]];
#endif
#ifdef P3_PLAIN
     keep(here, held_stamp);
#else
     publish(here, held_stamp);  // (P3)
#endif
     unlock
  :: present && PHASE(held_stamp) == Cutover && may_change ->  // complete_migration
     lock;
#ifndef COUNT_READ_EARLY
     seen_count = count[label[here]];  // (P4)
#endif
#ifdef FLIPS_UNCOUNTED
     seen_count = 0;
#endif
     if
     :: seen_count != 0  // WritesInFlight
     :: seen_count == 0 ->
        draw;
        held_stamp = LIVE(generation, Settled, 1 - ACTIVE(held_stamp));
        atomic {
          publish(here, held_stamp);
          assert(out == 0);  // INV-P
          origin = destination;
          destination = 0
        }
     fi;
     seen_count = 0;
     unlock
  :: present && PHASE(held_stamp) > Settled && may_change ->  // abort_migration
     lock;
     draw;
     held_stamp = LIVE(generation, Settled, ACTIVE(held_stamp));
     atomic { publish(here, held_stamp); destination = 0 };
     unlock
  :: present && PHASE(held_stamp) == Settled && may_change ->  // erase
     lock;
     k = label[here];
#ifdef ERASES_WITHOUT_CLOSING
     seen_count = count[k];
     if
     :: seen_count == 0 -> skip
#else
#ifdef CLOSES_AFTER_LOOKING
     seen_count = count[k];
     if
     :: seen_count == 0 -> closed[k] = 1
#else
     if
     :: atomic { count[k] == 0 -> closed[k] = 1 }
#endif
#endif
        draw;
        present = 0;
        held_stamp = VACANT;
        atomic { publish(here, VACANT); assert(out == 0); origin = 0 }
     :: count[k] != 0  // WritesInFlight
     fi;
     seen_count = 0;
     k = 0;
     unlock
#ifdef ERASURES
  :: present && PHASE(held_stamp) == Settled && may_change ->  // pause_writes
     lock;
     draw;
     cell[here].placement[1 - ACTIVE(held_stamp)] = origin;
     held_stamp = LIVE(generation, Cutover, ACTIVE(held_stamp));
#ifdef REMOVES_BY_EARLY_COUNT
     early_count = count[label[here]];
#endif
#ifdef PAUSES_PLAIN
     atomic { nfull(buffer) -> buffer!here, held_stamp; destination = origin };
#else
     atomic { publish(here, held_stamp); destination = origin };  // (P3)
#endif
     if
     :: erasing_at == 0 && erasures < ERASURES ->  // of erase_until
        d_step { erasing_at = generation; erasures++; is_erasers = 1 }
     :: true
     fi;
     unlock
  :: present && PHASE(held_stamp) > Settled && may_change ->  // claim_migration
     lock;
     draw;
     held_stamp = LIVE(generation, PHASE(held_stamp), ACTIVE(held_stamp));
     publish(here, held_stamp);
     unlock
  :: erasing_at != 0 && may_change ->  // the end of erase_until
     lock;
     k = label[here];
     if
     :: !(present && is_expected && is_paused)  // StaleEpoch, NotPaused
     :: present && is_expected && is_paused ->
        if
#if defined(REMOVES_BY_EARLY_COUNT)
        :: early_count == 0 ->
#elif defined(REMOVES_WITHOUT_CLOSING)
        :: count[k] == 0 ->
#else
        :: atomic { count[k] == 0 -> closed[k] = 1 } ->
#endif
           assert(is_erasers);
           draw;
           present = 0;
           held_stamp = VACANT;
           erasing_at = 0;
           atomic { publish(here, VACANT); assert(out == 0); origin = 0; destination = 0 }
        :: count[k] != 0  // it goes on waiting
        fi
     fi;
     k = 0;
     unlock
  :: erasing_at != 0 && may_change ->  // its deadline
     lock;
     if
#ifdef ABORTS_WITHOUT_EPOCH
     :: present && PHASE(held_stamp) > Settled ->
#else
     :: present && EPOCH(held_stamp) == erasing_at ->
#endif
        assert(is_erasers);
        draw;
        held_stamp = LIVE(generation, Settled, ACTIVE(held_stamp));
        atomic { publish(here, held_stamp); destination = 0 }
     :: else
     fi;
     erasing_at = 0;
     unlock
#endif
  :: !present && may_change ->  // set: perhaps with the counter of the last time
     lock;
     draw;
     present = 1;
     here = (at_next != 0 -> at_next - 1 : at_array);
     if
     :: k = 0
     :: k = 1
     fi;
#ifdef REOPENS_WITH_ZERO  // not only the flags
     atomic { closed[k] = 0; count[k] = 0 };
#else
     closed[k] = 0;
#endif
     label[here] = k;
     held_stamp = LIVE(generation, Settled, 0);
     cell[here].placement[0] = 1 + (generation & 1);
     atomic {
       publish(here, held_stamp);
       origin = 1 + (generation & 1);
       counter = k
     };
     k = 0;
     unlock
  :: at_next == 0 && !retired && growths < GROWTHS ->  // begin_growth, move_cells
     lock;
     growths++;
     at_next = 2 - at_array;
     keep(AT_NEXT, at_next);
     if
     :: present ->
        k = 1 - here;
        label[k] = label[here];
#ifdef COUNTER_STAYS_BEHIND  // a counter of the cell, not of the partition
        label[k] = 1 - label[here];
#endif
        cell[k].placement[0] = cell[here].placement[0];
        cell[k].placement[1] = cell[here].placement[1];
        publish(k, held_stamp);
#ifdef MOVED_NOT_IN_TOTAL_ORDER
        late_stamp_of = here + 1;
#else
        atomic { empty(buffer); stamp[here] = MOVED };
#endif
        here = k;
        k = 0
     :: !present
     fi;
     unlock
  :: at_next != 0 ->  // finish_growth
     lock;
     at_array = at_next - 1;
     at_next = 0;
     keep(AT_ARRAY, at_array);
     keep(AT_NEXT, 0);
     retired = 1;
     unlock
  :: retired && late_stamp_of == 0 ->  // scrub_retired
     lock;
     keep(1 - at_array, VACANT);
     retired = 0;
     unlock
  :: !may_change && growths == GROWTHS && at_next == 0 && !retired -> break
  od;
end:
  skip
}

// acquire_write(X), the write, and the permit's release, again and again. The lookup is one step:
// that it may be taken so is what growth.pml and cell.pml say.
proctype Acquirer(byte me) {
  byte c, s, p, k;
  bit good;
  do
  :: atomic {
       c = array;
       if
       :: !HAS_ID(stamp[c]) && next != 0 -> c = next - 1
       :: else
       fi;
       s = stamp[c];
       if
       :: IS_OPEN(s) ->
          p = cell[c].placement[ACTIVE(s)];
          k = label[c]
       :: else -> goto done
       fi
     };
#ifdef LOOKS_BEFORE_COUNTING  // (P2) before (P1)
     atomic {
       if
       :: stamp[c] != s -> goto done
       :: else
       fi
     };
#endif
#ifdef P1_PLAIN
     pending[me] = k + 1;
#else
     atomic {
       count[k]++;  // (P1)
       if
#ifndef ENTERS_CLOSED
       :: closed[k] -> goto refused
#endif
       :: else
       fi
     };
#endif
     atomic {
       if
#if !defined(LOOKS_BEFORE_COUNTING) && !defined(NO_SECOND_LOOK)
       :: stamp[c] != s -> goto uncount  // (P2)
#endif
       :: else
       fi;
       // INV-M1, and the permit is for the origin and counted on the partition's counter.
       good = (IS_OPEN(now) && p == origin && k == counter);
       out++
     };
     assert(good);
#ifdef LEAVES_BEFORE_THE_WRITE  // no release in leave()
     atomic { assert(count[k] > 0); count[k]--; out-- };
#endif
     // The write commits.
     atomic {
       assert(p == origin);                          // INV-M2
       assert(!(is_migrating && p == destination && p != origin));  // INV-M3
#ifdef LEAVES_BEFORE_THE_WRITE
       goto done
#else
       skip
#endif
     };
     atomic {
       pending[me] == 0;
       assert(count[k] > 0);
       count[k]--;
       out--;
       goto done
     };
uncount:
     atomic {
       pending[me] == 0;
       assert(count[k] > 0);
       count[k]--;
       goto done
     };
refused:
     atomic {
       assert(count[k] > 0);
       count[k]--
     };
     atomic { !mutex && empty(buffer) };
done:
     atomic { c = 0; s = 0; p = 0; k = 0; good = 0 }
  od
}

init {
  atomic {
    run Acquirer(0);
#if ACQUIRERS > 1
    run Acquirer(1)
#endif
  }
}
