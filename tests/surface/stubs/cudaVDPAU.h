/* cudaVDPAU.h, where the wheel has none. */
#include <vdpau/vdpau.h>
