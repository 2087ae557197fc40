# Compiler flags, as interface libraries so that every target says what it takes:
#   bm_warnings   what we hold our own code to; warnings are errors
#   bm_hardening  what the binaries we ship are built with (release)
#   bm_flags      both, the include root and the forced banned.h: for everything below src/
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(CheckIPOSupported)

option(BM_SANITIZE "address and undefined behaviour sanitizers" OFF)
option(BM_HARDEN "the flags of a shipped binary: fortify, stack protection, PIE, RELRO, LTO" OFF)
option(BM_FUZZER "build the libFuzzer targets instead of the tests (clang)" OFF)
option(BM_JEMALLOC "link jemalloc when it is there" OFF)

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(bm_warnings INTERFACE)
target_compile_options(bm_warnings INTERFACE
    -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla -Wformat=2 -Wundef
    -Wpointer-arith -Wwrite-strings -Wredundant-decls -Wnested-externs)

function(bm_add_if_known target flag)
    string(MAKE_C_IDENTIFIER "BM_HAS${flag}" known)
    check_c_compiler_flag("-Werror ${flag}" ${known})
    if(${known})
        target_compile_options(${target} INTERFACE ${flag})
    endif()
endfunction()

foreach(flag -Wduplicated-cond -Wduplicated-branches -Wtrampolines)
    bm_add_if_known(bm_warnings ${flag})
endforeach()

# --- release ---------------------------------------------------------------------------------------------------------------------

add_library(bm_hardening INTERFACE)

function(bm_choose_fortify)
    set(CMAKE_REQUIRED_FLAGS "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
    check_c_source_compiles("#include <stdio.h>
        #if !defined __USE_FORTIFY_LEVEL || __USE_FORTIFY_LEVEL < 3
        #error this C library stops at 2
        #endif
        int main(void) { return 0; }" BM_HAS_FORTIFY_3)
    set(level 2)
    if(BM_HAS_FORTIFY_3)
        set(level 3)
    endif()
    target_compile_options(bm_hardening INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=${level})
endfunction()

if(BM_HARDEN)
    bm_choose_fortify()
    foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection=full -ftrivial-auto-var-init=zero)
        bm_add_if_known(bm_hardening ${flag})
    endforeach()
    target_link_options(bm_hardening INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)
    target_compile_options(bm_hardening INTERFACE -fPIE)
    target_link_options(bm_hardening INTERFACE -pie)
    check_ipo_supported(RESULT BM_LTO OUTPUT ignored LANGUAGES C)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ${BM_LTO})
    if(BM_LTO AND CMAKE_C_COMPILER_ID STREQUAL "GNU") # objects that also link without it: bm_link_plainly()
        set(CMAKE_C_COMPILE_OPTIONS_IPO -flto=auto -ffat-lto-objects)
        set(BM_FAT_OBJECTS ON)
        # What these find hangs on how far a compiler's version optimises; the debug builds take them for errors.
        foreach(flag maybe-uninitialized format-truncation stringop-overflow stringop-overread array-bounds)
            target_compile_options(bm_hardening INTERFACE -Wno-error=${flag})
        endforeach()
    endif()
endif()

# What is not shipped is linked from the same objects without link-time optimisation, which would optimise the whole tree again for each
# of some two hundred programs. The end-to-end tests run what is shipped.
function(bm_link_plainly target)
    if(BM_FAT_OBJECTS)
        set_target_properties(${target} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
        target_link_options(${target} PRIVATE -fno-lto)
    endif()
endfunction()

# --- sanitizers and fuzzing: the whole tree, or nothing links ----------------------------------------------------------------------

if(BM_SANITIZE)
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
endif()
if(BM_FUZZER)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# --- src/ ------------------------------------------------------------------------------------------------------------------------

add_library(bm_flags INTERFACE)
target_link_libraries(bm_flags INTERFACE bm_warnings bm_hardening)
target_include_directories(bm_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(bm_flags INTERFACE _GNU_SOURCE BM_VERSION="${PROJECT_VERSION}")

# Only our own sources: tests may use what src/ may not.
set(BM_BANNED_OPTIONS -include ${CMAKE_SOURCE_DIR}/src/base/banned.h)
