"""Triton's interpreter without work that it repeats or throws away: half of the time of each kernel that tests run.

At each call of a kernel, and of each function that a kernel calls, it looks through all attributes of Triton's language
for those to replace by its own, and for each value it makes a table of all types anew: with the same outcome always.
And for each sum and product of integers it computes in 64 bits whether they overflow, which it asserts in debug mode
only.
"""

import functools
import inspect

REPLACED = {"_patch_attr", "_patch_builtin", "_get_np_dtype"}
OVERFLOW = "binary_op_sanitize_overflow_impl"


def remember() -> bool:
    """Lets the interpreter of this process remember what it has to replace, and which NumPy type stands for a type.

    Returns:
        Whether it does: a Triton that knows these functions by other names is left as it is, slower and as right.
    """
    from triton.language.core import dtype, is_builtin
    from triton.language.semantic import TritonSemantic
    from triton.runtime import interpreter

    if not REPLACED <= vars(interpreter).keys() or OVERFLOW not in vars(TritonSemantic):
        return False

    @functools.cache
    def builtins(package) -> list[str]:
        return [name for name, member in inspect.getmembers(package) if is_builtin(member)]

    def patch(package, *arguments) -> None:
        for name in builtins(package):
            member = getattr(package, name)
            if is_builtin(member):  # and not replaced yet
                interpreter._patch_attr(package, name, member, *arguments)

    any_type = interpreter._get_np_dtype
    scalar_type = functools.cache(any_type)

    def numpy_type(of):
        return scalar_type(of.scalar) if type(of.scalar) is dtype else any_type(of)  # pointers have no hash

    overflow = getattr(TritonSemantic, OVERFLOW)

    def asserted_overflow(self, *operands) -> None:
        if self.builder.options.debug:
            overflow(self, *operands)

    interpreter._patch_builtin, interpreter._get_np_dtype = patch, numpy_type
    setattr(TritonSemantic, OVERFLOW, asserted_overflow)
    return True
