# What a person types here. Needs Python 3.11 to 3.14 with venv, and make; nothing else.

VENV := .venv
BIN := $(VENV)/bin
S3_VENV := .venv-s3
TLOG_VENV := .venv-tlog
PYTHONS := python3.13 python3.12 python3.11 python3.14 python3
SOURCES := eventstore projections api worker cli migrations tests benchmarks
# More than a small machine has cores: many tests wait, for a lease to end or a program to start.
WORKERS := 4

.DELETE_ON_ERROR:
.PHONY: demo test test-fast s3-test tlog-test lint format canaries tamper courses laws bench bench-peers chaos cuts stops takeovers rebuild-kills no-skip lock clean

demo: $(VENV)/.runtime ## start everything, run one job, show what happened, stop
	@$(BIN)/reactorcide demo

test: lint system-test ## all there is: lint, types, imports, tests on each server, coverage
	$(BIN)/pytest -n $(WORKERS) --cov

test-fast: $(VENV)/.dev ## the tests that take milliseconds
	$(BIN)/pytest -n $(WORKERS) -m 'not slow and not image'

# A server that speaks S3 takes sixty packages: in a .venv of its own.
s3-test: $(VENV)/.dev $(S3_VENV)/.s3 ## what speaks to an object store, once more on a real S3 server
	S3_SERVER=$(S3_VENV)/bin/moto_server $(BIN)/pytest -q -n $(WORKERS) -k s3 tests/eventstore/test_objects.py tests/projections/test_logs.py tests/projections/test_log_storing.py tests/worker/test_artifacts.py tests/worker/test_artifact_uploads.py

# Thirty packages more: as above.
tlog-test: $(VENV)/.dev $(TLOG_VENV)/.tlog ## have signed checkpoints and proofs verified by sigstore's code
	TLOG_PYTHON=$(TLOG_VENV)/bin/python $(BIN)/pytest -q tests/projections/test_third_party.py

lint: $(VENV)/.dev ## format, rules, types, who imports whom
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# What speaks SQL, once more on the server of the system's packages, where there is one.
.PHONY: system-test
system-test: $(VENV)/.dev
	@bin_dir=$$($(BIN)/python -c 'from reactorcide.cli.postgres_binaries import system_bin_dirs; print(*system_bin_dirs()[:1])'); \
	if [ -z "$$bin_dir" ]; then echo 'no PostgreSQL of the system here: tested on the wheel alone'; \
	else set -x; PG_BIN="$$bin_dir" $(BIN)/pytest -q -n $(WORKERS) tests/migrations tests/eventstore tests/projections --ignore tests/eventstore/domain --ignore tests/eventstore/proof; fi

format: $(VENV)/.dev ## put the format right, and what ruff can put right
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

canaries: $(VENV)/.dev ## look for a thousand secrets in every encoding, cut everywhere: a minute
	REACTORCIDE_CANARIES=1000 $(BIN)/pytest -q tests/worker/test_masking.py -k canary

tamper: $(VENV)/.dev ## tamper with sealed logs 10,000 times; each must be found, at its position: minutes
	REACTORCIDE_TAMPERINGS=10000 $(BIN)/pytest -q tests/eventstore/proof/test_tamperings.py

courses: $(VENV)/.dev ## 300 courses of workers that crash and speak late; 8 workers at 2,000 jobs: minutes
	REACTORCIDE_COURSES=300 REACTORCIDE_CLAIMED=2000 $(BIN)/pytest -q tests/worker/test_workers_machine.py tests/worker/test_claiming.py

laws: $(VENV)/.dev ## try the rules' laws on twenty times the histories of the suite: minutes
	REACTORCIDE_EFFORT=20 $(BIN)/pytest -q -n $(WORKERS) tests/eventstore/domain

bench: $(VENV)/.runtime ## measure, each number beside its floor
	$(BIN)/python -m reactorcide.benchmarks

bench-peers: $(VENV)/.runtime ## measure beside other queues, which it installs into a cache
	@$(BIN)/python -m reactorcide.benchmarks.peers

chaos: $(VENV)/.runtime ## kill, stop and cut off workers and server under 10,000 commands; exit 1 if anything was lost
	@$(BIN)/python -m reactorcide.benchmarks.chaos --jobs 10000 --workers 8 --slots 4 --drain-within 30

cuts: $(VENV)/.runtime ## cut off the listeners 200 times amid bursts; exit 1 if anything was missed
	@$(BIN)/python -m reactorcide.benchmarks.cuts --cuts 200

rebuild-kills: $(VENV)/.runtime ## kill rebuilds 20 times at random points while jobs are submitted; exit 1 if a table differs
	@$(BIN)/python -m reactorcide.benchmarks.rebuild_kills --events 200000 --kills 20

no-skip: $(VENV)/.dev ## 16 writers and 3 readers of the log, with every kind of end: 0 missed, repeated, inverted
	REACTORCIDE_NO_SKIP=1 $(BIN)/pytest -q -s tests/eventstore/test_no_skip.py

stops: $(VENV)/.runtime ## stop workers 50 times for two to five leases; exit 1 if anything late was taken
	@$(BIN)/python -m reactorcide.benchmarks.stops --stops 50

takeovers: $(VENV)/.runtime ## kill 30 workers; exit 1 if a job of theirs runs again later than 20 s
	@$(BIN)/python -m reactorcide.benchmarks.takeovers --deaths 30

# Nothing of this machine's settings gets into a lock: no configuration file, no UV_ variable.
COMPILE = env -u UV_FIND_LINKS -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_EXTRA_INDEX_URL -u UV_INDEX_URL \
	$(BIN)/uv pip compile pyproject.toml --quiet --no-config --universal --generate-hashes \
	--python-version 3.11 --custom-compile-command 'make lock' --extra postgres --group build
COMPILE_S3 = $(subst pyproject.toml --quiet,--quiet,$(subst --extra postgres --group build,--group s3,$(COMPILE)))
COMPILE_TLOG = $(subst --group s3,--group tlog,$(COMPILE_S3))
lock: $(VENV)/.dev ## resolve the newest versions that pyproject.toml allows
	$(COMPILE) --upgrade -o requirements.lock
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE_S3) --upgrade -o requirements-s3.lock
	$(COMPILE_TLOG) --upgrade -o requirements-tlog.lock

clean: ## remove what was made here, the data of `up` not included
	rm -rf $(VENV) $(S3_VENV) $(TLOG_VENV) dist build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# The locks are complete, so nothing is resolved; Python compiles what it imports when it does.
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import platform, sys; sys.exit(platform.libc_ver()[0] != "glibc" and sys.platform == "linux")' || { \
		echo 'The wheels of the embedded PostgreSQL need glibc, and this system has another libc (Alpine?).'; \
		echo 'Use compose.yaml, or: pip install reactorcide, with REACTORCIDE_DB_URI set to a PostgreSQL server.'; exit 1; }
	@echo 'installing from requirements.lock'
	@$(INSTALL) --no-deps --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo 'installing from requirements-dev.lock'
	@$(INSTALL) --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(S3_VENV)/.s3: requirements-s3.lock | $(BIN)/python
	@echo 'installing from requirements-s3.lock'
	@$(BIN)/python -m venv $(S3_VENV)
	@$(S3_VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements-s3.lock
	@touch $@

$(TLOG_VENV)/.tlog: requirements-tlog.lock | $(BIN)/python
	@echo 'installing from requirements-tlog.lock'
	@$(BIN)/python -m venv $(TLOG_VENV)
	@$(TLOG_VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements-tlog.lock
	@touch $@

$(BIN)/python:
	@for python in $(PYTHONS); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; \
		then echo "making $(VENV) with $$python"; exec "$$python" -m venv $(VENV); fi; \
	done; \
	echo 'Python 3.11 to 3.14 with venv is needed (on Debian: apt install python3 python3-venv); looked for $(PYTHONS)'; exit 1
