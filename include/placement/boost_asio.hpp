// SPDX-License-Identifier: Apache-2.0
//
// What placement/asio.hpp has, for Boost.Asio (Boost 1.77 or newer): in namespace
// placement::boost_asio, so that a program may use both.
#ifndef PLACEMENT_BOOST_ASIO_HPP_
#define PLACEMENT_BOOST_ASIO_HPP_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution/executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/wait_traits.hpp>
#include <boost/system/error_code.hpp>

#define PLACEMENT_ASIO_NAMESPACE ::boost::asio
#define PLACEMENT_ASIO_ERROR_CODE ::boost::system::error_code
#define PLACEMENT_ASIO_DETAIL boost_asio_operations
#define PLACEMENT_ASIO_BEGIN namespace boost_asio {
#define PLACEMENT_ASIO_END }
#include "placement/detail/asio_operations.hpp"
#undef PLACEMENT_ASIO_NAMESPACE
#undef PLACEMENT_ASIO_ERROR_CODE
#undef PLACEMENT_ASIO_DETAIL
#undef PLACEMENT_ASIO_BEGIN
#undef PLACEMENT_ASIO_END

#endif  // PLACEMENT_BOOST_ASIO_HPP_
