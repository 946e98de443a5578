# Thin names for longer commands. ./run and ./test are the two that matter.
SEEDS ?= 1000
FIRST_SEED ?= 1

.PHONY: help bench fuzz lint models simulate test test-all test-ui clean

help:
	@echo "bench     measure speed and quality, peers beside, and rewrite benches/RESULTS.md"
	@echo "lint      format, clippy, cargo deny, docs, shell scripts"
	@echo "models    get every model that the long tests and benches use (about 2.1 GB)"
	@echo "simulate  run the sync simulator: SEEDS=n FIRST_SEED=s"
	@echo "test      what ./test does"
	@echo "test-all  the long tests too, on bigger models"
	@echo "fuzz      fuzz the readers of foreign bytes, each for ten minutes (needs nightly Rust and cargo-fuzz)"
	@echo "test-ui   browser and window tests"
	@echo "clean     remove build outputs and fetched tools and models"

bench:
	./benches/run

lint:
	./scripts/lint

models:
	mkdir -p .cache/key
	HEARTH_KEYCHAIN=off HEARTH_MODELS=.cache/models cargo run --release -p hearth -- --in-process \
		--home .cache/home --key-file .cache/key/test.key models pull smollm2-135m-instruct-q4_1 all-minilm-l6-v2 \
		qwen2.5-coder-0.5b-instruct-q4_k_m qwen2.5-coder-1.5b-instruct-q4_k_m gemma-3-270m-q4_k_m

fuzz:
	cd core/inference/fuzz && mkdir -p corpus/gguf && cargo +nightly fuzz run gguf corpus/gguf seeds/gguf -- -max_total_time=600
	cd core/sync/fuzz && mkdir -p corpus/document && cargo +nightly fuzz run document corpus/document seeds/document -- -max_total_time=600 -max_len=8192
	for target in wire codes account certificate; do \
	  (cd core/protocol/fuzz && mkdir -p corpus/$$target && cargo +nightly fuzz run $$target corpus/$$target -- -max_total_time=600) || exit 1; \
	done

simulate:
	SEEDS=$(SEEDS) FIRST_SEED=$(FIRST_SEED) cargo test --release -p hearth-sync --test lives -- --include-ignored
	SEEDS=$(SEEDS) FIRST_SEED=$(FIRST_SEED) cargo test -p hearth-tests --test simulator -- --nocapture big_

test:
	./test

test-all: models
	./test
	cargo nextest run --workspace --profile all -E 'test(/(^|::)big_/)'
	./scripts/mutate

test-ui:
	@echo "There are no window tests yet: the desktop app has not been built." >&2; exit 1

clean:
	cargo clean
	rm -rf .cache ui/node_modules
