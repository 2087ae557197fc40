# Manual pages and shell completion, written by the program itself from its table of commands; installed where man and the shells look.
set(share ${CMAKE_BINARY_DIR}/share)
set(names bash/birthmark zsh/_birthmark fish/birthmark.fish)
set(scripts)
file(MAKE_DIRECTORY ${share}/man ${share}/bash ${share}/zsh ${share}/fish)
foreach(name ${names})
    get_filename_component(shell ${name} DIRECTORY)
    list(APPEND scripts COMMAND birthmark completion ${shell} > ${share}/${name})
endforeach()
add_custom_command(OUTPUT ${share}/written ${scripts}
    COMMAND birthmark manual ${share}/man
    COMMAND ${CMAKE_COMMAND} -E touch ${share}/written
    DEPENDS birthmark COMMENT "Manual pages and completion" VERBATIM)
add_custom_target(manual ALL DEPENDS ${share}/written)

install(DIRECTORY ${share}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
install(DIRECTORY ${share}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man5 FILES_MATCHING PATTERN "*.5")
install(DIRECTORY docs/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
install(FILES ${share}/bash/birthmark DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${share}/zsh/_birthmark DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${share}/fish/birthmark.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
