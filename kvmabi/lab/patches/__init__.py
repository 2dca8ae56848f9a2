"""Changes to kernels that kvmabi brings along: data alone, see `kvmabi.lab.build.patch`."""
