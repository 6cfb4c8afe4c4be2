// Date units: a batch's counts of time have to mean the same.
#pragma once

#include "input/items.h"
#include "plan/sources.h"

namespace tensorlift {

// Throws TypeError where arrays of dates or durations, those without elements aside, differ in more
// than their byte order: one counts days, another seconds. The sources are what was read from the
// items. GIL held.
void check_date_units(const Items& items, const Sources& sources);

}  // namespace tensorlift
