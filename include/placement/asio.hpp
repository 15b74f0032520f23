// SPDX-License-Identifier: Apache-2.0
//
// Writes and holds as asynchronous operations of standalone Asio (1.20 or newer, which the table
// itself does not need). For Boost.Asio: placement/boost_asio.hpp.
#ifndef PLACEMENT_ASIO_HPP_
#define PLACEMENT_ASIO_HPP_

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/error_code.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution/executor.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>
#include <asio/system_executor.hpp>
#include <asio/wait_traits.hpp>

#define PLACEMENT_ASIO_NAMESPACE ::asio
#define PLACEMENT_ASIO_ERROR_CODE ::asio::error_code
#define PLACEMENT_ASIO_DETAIL standalone_asio
#define PLACEMENT_ASIO_BEGIN
#define PLACEMENT_ASIO_END
#include "placement/detail/asio_operations.hpp"
#undef PLACEMENT_ASIO_NAMESPACE
#undef PLACEMENT_ASIO_ERROR_CODE
#undef PLACEMENT_ASIO_DETAIL
#undef PLACEMENT_ASIO_BEGIN
#undef PLACEMENT_ASIO_END

#endif  // PLACEMENT_ASIO_HPP_
