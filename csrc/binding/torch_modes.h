// Modes and transformations of torch that are in force.
#pragma once

namespace tensorlift {

// Does somebody want to be asked when tensors are made, or used: a mode, such as that of another
// default device, or a transformation? GIL held.
[[nodiscard]] bool is_torch_asked();

}  // namespace tensorlift
