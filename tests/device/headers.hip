#include <hip/hip_runtime.h>

#include "headers_device.hpp"
