// L4: a function that can stop in the middle and go on later: a lane on a CPU.
// Knows: Boost.Context, stacks.
// Must not know: what lanes do.
// Uses the part of Boost.Context that boost::context::fiber is made of: a lane that waits for something that will never
// come is given up without unwinding its stack, through noexcept functions.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace tilefit::inline v0::simt {

/// One thread resumes it and it stops itself, in turn.
class fiber {
 public:
  using entry = void (*)(void* argument);

  explicit fiber(std::size_t stack_bytes) : stack_(new std::byte[stack_bytes]), bytes_(stack_bytes) {}

  /// Lets the next resume() begin with begin(argument). What was running is given up.
  void start(entry begin, void* argument) {
    begin_ = begin;
    argument_ = argument;
    ended_ = false;
    inside_ = boost::context::detail::make_fcontext(stack_.get() + bytes_, bytes_, run);
  }
  /// Runs until the next stop() or the end. True when it has ended.
  bool resume() {
    inside_ = boost::context::detail::jump_fcontext(inside_, this).fctx;
    return ended_;
  }
  /// Called from inside.
  void stop() { outside_ = boost::context::detail::jump_fcontext(outside_, nullptr).fctx; }

  std::uintptr_t stack() const noexcept { return reinterpret_cast<std::uintptr_t>(stack_.get()); }
  std::size_t stack_bytes() const noexcept { return bytes_; }

 private:
  static void run(boost::context::detail::transfer_t from) {
    auto& self = *static_cast<fiber*>(from.data);
    self.outside_ = from.fctx;
    self.begin_(self.argument_);
    self.ended_ = true;
    for (;;) self.stop();
  }

  std::unique_ptr<std::byte[]> stack_;
  std::size_t bytes_;
  entry begin_ = nullptr;
  void* argument_ = nullptr;
  bool ended_ = true;
  boost::context::detail::fcontext_t inside_ = nullptr, outside_ = nullptr;
};

}  // namespace tilefit::inline v0::simt
