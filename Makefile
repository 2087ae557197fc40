# Birthmark: the front door to the build. Everything is CMake presets and Ninja in build/<preset>; `make help` lists the targets.
JOBS ?= 2
PREFIX ?= /usr/local
DESTDIR ?=
DEVICES ?= 1000
SECONDS ?= 60
SOAK_SECONDS ?= 600
TARGET ?=
PEERS ?=
SCALE ?=

.DEFAULT_GOAL := build
.PHONY: help build dev demo check check-debian13 lint bench bench-scale conformance fuzz soak format install clean

help:
	@echo 'make                                the programs, in build/release/bin'
	@echo 'make dev                            a debug build, in build/dev/bin'
	@echo 'make demo [DEVICES=$(DEVICES)]           a whole system with simulated devices on this machine'
	@echo 'make check                          build, lint and all tests'
	@echo 'make check-debian13                 what depends on the system underneath, in a Debian 13 of its own (root)'
	@echo 'make lint                           clang-tidy, cppcheck, format, longest functions'
	@echo 'make bench [PEERS=1]                measurements; beside other servers'
	@echo 'make bench-scale [SCALE=5000000]    does it stay as fast with that many devices?'
	@echo 'make conformance [CMP_TEST_SUITE=folder]   public conformance suites'
	@echo 'make soak [SOAK_SECONDS=$(SOAK_SECONDS)]          the long tests'
	@echo 'make fuzz [SECONDS=$(SECONDS)] [TARGET=text]    libFuzzer, SECONDS per target'
	@echo 'make format                         clang-format, in place'
	@echo 'make install [PREFIX=$(PREFIX)] [DESTDIR=]'
	@echo 'make clean'

build:
	@scripts/install-deps build
	@scripts/build release $(JOBS)

dev:
	@scripts/install-deps build
	@scripts/build dev $(JOBS)

demo: build
	@scripts/demo $(DEVICES)

check:
	@scripts/install-deps check
	@scripts/check $(JOBS)

check-debian13:
	@scripts/install-deps debian13
	@scripts/in-debian13 scripts/check $(JOBS) --underneath

lint:
	@scripts/install-deps check
	@scripts/build asan $(JOBS)
	@scripts/lint $(JOBS)

bench:
	@scripts/install-deps bench
	@scripts/build release $(JOBS)
	@scripts/bench $(if $(PEERS),--peers)

bench-scale:
	@scripts/install-deps bench
	@scripts/build release $(JOBS)
	@scripts/bench --only scale --scale $(if $(SCALE),$(SCALE),5000000)

conformance:
	@scripts/install-deps check
	@scripts/build release $(JOBS)
	@scripts/conformance

fuzz:
	@scripts/install-deps check
	@scripts/build fuzz $(JOBS)
	@scripts/fuzz $(SECONDS) $(TARGET)

soak:
	@scripts/install-deps check
	@scripts/build release $(JOBS)
	@scripts/pytest release -m soak --soak-seconds=$(SOAK_SECONDS)

format:
	@scripts/install-deps check
	@find src device tests -name '*.[ch]' -print0 | xargs -0 clang-format -i

install: build
	@DESTDIR='$(DESTDIR)' cmake --install build/release --prefix '$(PREFIX)'

clean:
	rm -rf build
