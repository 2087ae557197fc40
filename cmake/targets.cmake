# How this tree's folders become targets. All lists are globs, so a new file needs no change here.

# bm_library(NAME LIBS...): src/NAME/*.c without main.c as static library bm_NAME. An empty folder is an interface library.
function(bm_library name)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c)
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
    if(NOT sources)
        add_library(bm_${name} INTERFACE)
        target_link_libraries(bm_${name} INTERFACE ${ARGN})
        return()
    endif()
    add_library(bm_${name} STATIC ${sources})
    target_compile_options(bm_${name} PRIVATE ${BM_BANNED_OPTIONS})
    target_link_libraries(bm_${name} PUBLIC bm_flags ${ARGN})
    bm_embeds(bm_${name} ${sources})
endfunction()

# Files that embed others with .incbin: the assembler must find them from any folder, a change must rebuild, and link-time
# optimisation would move the assembler text away from its users.
function(bm_embeds target)
    set(folder ${CMAKE_SOURCE_DIR}/src/store/migrations)
    foreach(source ${ARGN})
        file(STRINGS ${source} embeds REGEX "\\.incbin" LIMIT_COUNT 1)
        if(embeds)
            file(GLOB_RECURSE parts CONFIGURE_DEPENDS ${folder}/*.sql)
            set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS "${parts}" COMPILE_OPTIONS -fno-lto
                COMPILE_DEFINITIONS BM_MIGRATIONS_DIR="${folder}")
        endif()
    endforeach()
endfunction()

# bm_program(NAME MAIN LIBS...): an installed program, once its main exists.
function(bm_program name main)
    if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${main})
        message(STATUS "${name}: ${main} is not there yet")
        return()
    endif()
    add_executable(${name} ${main})
    target_compile_options(${name} PRIVATE ${BM_BANNED_OPTIONS})
    target_link_libraries(${name} PRIVATE bm_flags ${ARGN})
    if(TARGET PkgConfig::JEMALLOC)
        target_link_libraries(${name} PRIVATE PkgConfig::JEMALLOC)
    endif()
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# Everything of src/, for tests.
add_library(bm_all INTERFACE)
target_link_libraries(bm_all INTERFACE
    bm_cli bm_server bm_protocol bm_keeper bm_factory bm_audit bm_store bm_pki bm_base)

# bm_test(NAME PROGRAM ARGS...): run from the top of the tree, so that tests can open tests/corpus/...
function(bm_test name program)
    add_test(NAME ${name} COMMAND ${program} ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    # cmocka does not count what fails in a group's teardown
    set_tests_properties(${name} PROPERTIES TIMEOUT 300 FAIL_REGULAR_EXPRESSION "FAILED  ] GROUP" ENVIRONMENT
        "UBSAN_OPTIONS=print_stacktrace=1;ASAN_OPTIONS=detect_stack_use_after_return=1")
endfunction()

function(bm_unit_tests)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/*_test.c)
    if(NOT TARGET PkgConfig::CMOCKA)
        message(STATUS "cmocka is not here: no unit tests (make check installs it)")
        return()
    endif()
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        add_executable(${name} ${source})
        set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
        target_link_libraries(${name} PRIVATE bm_flags bm_all PkgConfig::CMOCKA)
        bm_link_plainly(${name})
        bm_test(unit.${name} ${name})
    endforeach()
endfunction()

# The committed corpus through each fuzz target, in every plain run.
function(bm_fuzz_replays)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*_fuzz.c)
    set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -Wno-missing-prototypes) # libFuzzer ships no header for C
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        string(REGEX REPLACE "_fuzz$" "" thing ${name})
        add_executable(${name} ${source} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
        set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
        target_link_libraries(${name} PRIVATE bm_flags bm_all)
        bm_link_plainly(${name})
        bm_test(fuzz.${name} ${name} tests/corpus/${thing})
    endforeach()
endfunction()

function(bm_fuzz_targets)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*_fuzz.c)
    set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -Wno-missing-prototypes)
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        add_executable(${name} ${source})
        set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
        target_link_libraries(${name} PRIVATE bm_flags bm_all)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    endforeach()
endfunction()

# tests/bench/<x>_bench.c, each a program of its own, with what is in tests/bench/<x>/ of C.
function(bm_benches)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/*_bench.c)
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        string(REGEX REPLACE "_bench$" "" thing ${name})
        file(GLOB parts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/${thing}/*.c)
        add_executable(${name} ${source} ${parts})
        set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
        target_link_libraries(${name} PRIVATE bm_flags bm_all)
    endforeach()
endfunction()

# tests/conformance/<x>_check.c, each a program that scripts/conformance asks about public test vectors.
function(bm_conformance_checks)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/conformance/*_check.c)
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        add_executable(${name} ${source})
        set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/conformance)
        target_link_libraries(${name} PRIVATE bm_flags bm_all)
        bm_link_plainly(${name})
    endforeach()
endfunction()
