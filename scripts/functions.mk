# Functions of the Makefile: how the user's values reach the shell, and how a changed value makes a file stale.

# $(call quote,TEXT): TEXT as one word of the shell, with a leading ~/ as the home folder.
quote = $(subst '~/,"$$HOME"'/,'$(subst ','\'',$1)')
# $(call quote_words,TEXT): each word of TEXT as one word of the shell.
quote_words = $(foreach word,$1,$(call quote,$(word)))
# $(call env,NAMES): the variables as NAME=value, before a command of the shell that reads them from its environment.
env = $(foreach name,$1,$(name)=$(call quote,$($(name))))

# $(call settle,NAMES): the user's values become plain text of one line, in which make expands nothing, and reach what
# make starts; the defaults are expanded, once.
settle = $(foreach name,$1,$(eval $(if $(filter command environment,$(origin $(name))),\
  override export $(name) := $$(subst $$(newline), ,$$(value $(name))),\
  $(name) := $$(strip $$($(name))))))
# $(call command_line,NAMES): those of them that are set on the command line.
command_line = $(foreach name,$1,$(if $(filter command,$(origin $(name))),$(name)))
define newline


endef
# $(call check_names,NAMES): values that become part of a file's name are letters, digits, dots, dashes.
check_names = $(foreach name,$1,$(if $(shell [[ $(call quote,$($(name))) =~ ^[[:alnum:]._-]+$$ ]] || echo no),\
  $(error $(name) must consist of letters, digits, dots and dashes)))

# $(call track,FILE,VALUE): a rule for FILE, which holds VALUE and is stale when VALUE has changed. VALUE has $$ for $:
# it is compared while parsing, so that `make -n` and `make -q` tell the truth, and computed again when FILE is written.
# Make 4.3 sometimes leaves the line's end in $(file <…).
track = $(eval $1 = $2)$(eval $1: $(if $(call differ,$(subst $(newline),,$(file <$1)),$($1)),FORCE) ; $$(write_value))
differ = $(subst x$1,,x$2)$(subst x$2,,x$1)
write_value = @mkdir -p $(@D) && printf '%s\n' $(call quote,$($@)) >$@
