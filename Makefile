# The front door. `make` alone lists what there is. Everything goes through one program, which
# first gets ready what is missing (labs/setup/bootstrap.py) and then is `napt-lab …`; or through
# a container, with ENGINE=docker or podman, and where there can be no Mininet (labs/setup/start.sh).
#
# make itself exits with 2 on any error and prints the true status ("Error 3"): 1 a claim failed,
# 2 wrong usage or wrong YAML, 3 this machine cannot run it. `.venv/bin/napt-lab lab 9c`
# has the true one.

LABS := 8 9a 9b 9c 9d 9e 9f 9g 9h

NAPT := @sh labs/setup/start.sh

TARGETS := $(LABS:%=lab-%) labs $(LABS:%=exercise-%) grade test test-fast coverage lint bench fuzz \
  conformance matrix \
  doctor check shell clean distclean help
FOLDERS := docs nat_node servers tests topologies

# What is set as `make lab-9c STEP=1 PART=…` reaches the program through the environment.
.PHONY: $(TARGETS) $(FOLDERS)
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# No line is longer than 80 columns: a terminal would break it within a word.
help:
	@printf '  make %-22s%s\n' \
	  $(foreach lab,$(LABS),'lab-$(lab)' 'run lab $(lab) (STEP=1: one step at a time)') \
	  'labs' 'run all labs, one after another' \
	  $(foreach level,$(LABS),'exercise-$(level)' 'exercises on level $(level), by hand') \
	  'grade LEVEL= RULES=' 'mark a file of answers to exercises' \
	  'grade LEVEL= FOLDER=' 'mark a class (STUDENTS=, SECRET=, CSV=, HTML=,' \
	  '' 'GRADESCOPE=)' \
	  'grade TRANSLATOR=' 'mark a translator that you wrote' \
	  '' '(labs/translator/README.md)' \
	  'test' 'run all tests (DURATIONS=20: list the slowest)' \
	  'test-fast' 'run the tests that build no network, in a minute' \
	  'coverage' 'list lines and branches that no unit test reached' \
	  'lint' 'check style and types' \
	  'bench' 'compare the translator with the kernel'\''s own' \
	  'fuzz' 'send the translator a million random packets' \
	  '' '(PACKETS=…, SEED=…, STORY=…)' \
	  'conformance' 'try what the RFCs ask of a NAPT (ONLY=5382,' \
	  '' 'ENGINES="python nftables", PRESET=…,' \
	  '' 'TRANSLATOR=FILE)' \
	  'matrix' 'try all pairs of NAPT types: who can talk' \
	  '' 'directly (TYPES=…, METHODS=…, CARRIER=1)' \
	  'doctor' 'show what this machine lacks, and what to do' \
	  'check TOPOLOGY=FILE' 'check a topology, and what it expects' \
	  'shell TOPOLOGY=FILE' 'build a network and get a prompt on its nodes' \
	  'clean' 'remove what runs, tests and pip left in this folder' \
	  'distclean' 'remove the installed Python packages (.venv), too' \
	  | sed 's/^  make  /        /'
	@printf '%s\n' '' '  With a lab:' \
	  '    FROM=4: begin with step 4;  RESUME=1: go on where a run was stopped' \
	  '    QUIZ=1: only its questions, without a network;  PART=name: one part' \
	  '  With a lab, an exercise or shell:' \
	  '    WEB=1: watch its packets in a browser' \
	  '  With any of them:' \
	  '    ENGINE=docker or ENGINE=podman: run it in a container'

$(LABS:%=lab-%): lab-%:
	$(NAPT) lab $*

labs: $(LABS:%=lab-%)

$(LABS:%=exercise-%): exercise-%:
	$(NAPT) exercise $*

grade:
	@test -n "$$TRANSLATOR" || { test -n "$$LEVEL" && test -n "$$RULES$$FOLDER"; } || { \
	  printf 'Say what is to be marked: make grade LEVEL=%s RULES=FILE (FOLDER=FOLDER of a class), or make grade TRANSLATOR=FILE\n' \
	    "$$(echo $(LABS) | tr ' ' '|')" >&2; exit 2; }
	$(NAPT) $@

test test-fast coverage lint bench fuzz conformance matrix doctor:
	$(NAPT) $@

check shell:
	@test -n "$$TOPOLOGY" || { \
	  printf 'Say which topology: make %s TOPOLOGY=FILE. There are:\n' $@ >&2; \
	  printf '  %s\n' topologies/*.yaml >&2; exit 2; }
	$(NAPT) $@ "$$TOPOLOGY"

clean:
	rm -rf -- runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage bench.json build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf -- {} +

distclean: clean
	rm -rf -- .venv

# A name that there is not (a folder's is none): what may have been meant. By any Python, for ours
# may not be installed yet.
define MISSPELT
@python3 -I -c 'import difflib, sys; \
  near = difflib.get_close_matches(sys.argv[1], sys.argv[2:], n=1); \
  meant = "".join(" (did you mean `make %s`?)" % name for name in near); \
  print("There is no `make %s`%s: `make` alone lists what there is" % (sys.argv[1], meant))' \
  '$@' $(TARGETS) >&2; exit 2
endef

$(FOLDERS):
	$(MISSPELT)

.DEFAULT:
	$(MISSPELT)
