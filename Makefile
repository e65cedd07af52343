# minidock's front door: `make help` lists what there is. What takes more than a line stands in scripts/.
# Every target is safe to repeat, and quick where nothing is to be done.

.DEFAULT_GOAL := help
.PHONY: help setup setup-test run stop test test-slow lint bench install uninstall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing, make .venv, compile csrc/, build the images
	@scripts/setup.sh

setup-test: ## setup, and what only the tests need (docker CLI, registry, skopeo, strace, linters)
	@scripts/setup.sh --test

run: setup ## start the daemon if none answers, then a shell in a real Alpine (no terminal: a short tour)
	@scripts/run.sh

stop: ## end the daemon that `make run` started; containers stay
	@scripts/stop.sh

test: setup-test ## all tiers that this machine can run (MINIDOCK_TEST_STRICT=1: a skip is a failure)
	@scripts/test.sh $(ARGS)

test-slow: setup-test ## the fault and load tests with their full counts (takes long)
	@MINIDOCK_TEST_SLOW=1 scripts/test.sh -m slow $(ARGS)

lint: setup-test ## ruff, mypy --strict, clang-format; shellcheck and actionlint where they are
	@scripts/lint.sh

bench: setup-test ## against docker, podman and crun where they are installed, as ratios of one run
	@scripts/bench.sh $(ARGS)

install: setup ## install system-wide: /usr/local/lib/minidock, the commands, the systemd units
	@scripts/install.sh

uninstall: ## take back what `make install` did; images and containers stay
	@scripts/uninstall.sh

BUILT := .venv .cache build dist rootfs/build csrc/build minidock/_shim* minidock/linux/minidock-monitor *.egg-info

clean: ## remove everything that was built: .venv, objects, images, caches
	@rm -rf $(BUILT) 2>/dev/null || sudo rm -rf $(BUILT)  # root tests leave root's files
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
