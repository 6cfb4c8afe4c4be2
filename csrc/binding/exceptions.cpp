#include "binding/exceptions.h"

#include <c10/util/Exception.h>

#include <new>

#include "binding/made_once.h"
#include "binding/python_api.h"
#include "binding/torch_objects.h"
#include "errors.h"

namespace tensorlift {

BatchErrors::BatchErrors() {
  const py::object module = import_module("tensorlift._errors");
  type_error = module.attr("BatchTypeError").cast<py::object>().release().ptr();
  value_error = module.attr("BatchValueError").cast<py::object>().release().ptr();
}

const BatchErrors& batch_errors() { return made_once<BatchErrors>(); }

void set_python_error(std::exception_ptr exception) {
  try {
    if (exception) std::rethrow_exception(exception);
  } catch (const BatchTypeError& error) {
    PyErr_SetString(batch_errors().type_error, error.what());
  } catch (const BatchValueError& error) {
    PyErr_SetString(batch_errors().value_error, error.what());
  } catch (const TypeError& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const ValueError& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const IndexError& error) {
    PyErr_SetString(PyExc_IndexError, error.what());
  } catch (const RuntimeError& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  } catch (const InternalError& error) {
    PyErr_Format(PyExc_RuntimeError, "tensorlift internal error: %s. Please report it.",
                 error.what());
  } catch (const c10::Error&) {
    set_torch_error(exception);
  }
}

}  // namespace tensorlift
