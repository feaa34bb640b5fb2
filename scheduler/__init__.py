"""fleetfit: fits jobs to a mixed accelerator fleet and books every idle accelerator-second."""
