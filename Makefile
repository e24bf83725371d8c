# What a developer types. `make help` lists it.

CARGO ?= cargo
CONFIG ?=
export CARGO_TERM_COLOR ?= auto

.PHONY: help run demo test bootstrap format lint unit clients deploy-check bench fuzz fuzz-keep

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST)

run: ## Build and start the server, on its defaults or with CONFIG=file
	$(CARGO) build --release --locked
	@exec target/release/refork run $(if $(CONFIG),-c $(CONFIG))

demo: ## Show a call and an IM session that outlive a phone
	$(CARGO) build --release --locked
	@exec target/release/refork demo

test: bootstrap format lint deploy-check unit clients ## Everything: installs what it needs, ends non-zero on any failure

# In this order even with -j: they share the build folder, and a cheap failure comes first.
.NOTPARALLEL: test

bootstrap: ## Install the test tools that are missing
	bash tests/bootstrap/install

format: ## Check the formatting
	$(CARGO) fmt --all --check

lint: ## Clippy, with warnings as errors
	$(CARGO) clippy --locked --all-targets -- -D warnings

deploy-check: ## Check what deploy/ ships; needs promtool
	bash tests/bootstrap/deploy-check

unit: ## Rust tests
	bash tests/bootstrap/rust-tests

clients: ## Tests with real clients
	bash tests/bootstrap/client-tests

bench: ## Benchmarks
	$(CARGO) bench --locked

FUZZ_SECONDS ?= 60
FUZZ_TARGETS = $(shell sed -n 's/^name = "\([a-z]*\)"$$/\1/p' fuzz/Cargo.toml)
fuzz: ## Fuzz each target of fuzz/ for FUZZ_SECONDS, from the kept inputs and the torture messages
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p fuzz/corpus/$$target && \
	  tar -xzf fuzz/kept/$$target.tar.gz -C fuzz/corpus/$$target && \
	  cp tests/torture/*/*.dat fuzz/seeds/$$target/* fuzz/corpus/$$target/ && \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 || exit 1; \
	done

fuzz-keep: ## Put what the last `make fuzz` reached into fuzz/kept/, as few inputs as reach it
	@for target in $(FUZZ_TARGETS); do \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz cmin $$target && \
	  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C fuzz/corpus/$$target -cf - . \
	    | gzip -9n > fuzz/kept/$$target.tar.gz || exit 1; \
	done
