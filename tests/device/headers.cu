#include "headers_device.hpp"
