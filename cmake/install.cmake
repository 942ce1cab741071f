# Install rules and the CMake package.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(tilefit_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/tilefit)

install(TARGETS tilefit EXPORT tilefit-targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT tilefit-targets NAMESPACE tilefit:: DESTINATION ${tilefit_package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/tilefit-config.cmake.in
  ${PROJECT_BINARY_DIR}/tilefit-config.cmake INSTALL_DESTINATION ${tilefit_package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tilefit-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/tilefit-config.cmake ${PROJECT_BINARY_DIR}/tilefit-config-version.cmake
  DESTINATION ${tilefit_package_dir})
