/* cribo/cribo.h: all of libcribo. */
#ifndef CRIBO_CRIBO_H
#define CRIBO_CRIBO_H

#include "cribo/base.h"
#include "cribo/clusterer.h"
#include "cribo/communicator.h"
#include "cribo/evaluation.h"
#include "cribo/loss.h"
#include "cribo/memory_bank.h"
#include "cribo/model.h"
#include "cribo/objective.h"
#include "cribo/stream.h"
#include "cribo/trainer.h"

#endif
