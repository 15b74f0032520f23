// SPDX-License-Identifier: Apache-2.0
//
// Stamps, packed as in detail/stamp.hpp; a model's epochs fit a byte.
#define VACANT 0
#define MOVED 16

#define Settled 1
#define Draining 2
#define Cutover 3

#define LIVE(epoch, phase, active) ((epoch) * 16 + (active) * 8 + (phase))

#define HAS_ID(s) (((s) & 7) != 0)
#define PHASE(s) ((s) & 7)
#define ACTIVE(s) (((s) >> 3) & 1)
#define EPOCH(s) ((s) >> 4)
#define IS_OPEN(s) (PHASE(s) == Settled || PHASE(s) == Draining)

#define X 1 // the partition that is looked for
#define Y 2 // another one
