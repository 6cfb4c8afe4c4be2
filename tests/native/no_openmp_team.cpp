// In place of csrc/parallel/openmp_team.cpp: torch's threads are never there, so that all work is
// done by ours. (OpenMP's barriers are out of sight of a thread sanitizer, which takes them for
// races.)
#include "../../csrc/parallel/openmp_team.h"

namespace tensorlift {

bool run_on_openmp_team(int /*threads*/, PieceFunction /*body*/) { return false; }

}  // namespace tensorlift
