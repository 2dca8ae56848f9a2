/* Finding the PCI test device by configuration mechanism 1. */
#ifndef KVMABI_GUEST_PCI_H
#define KVMABI_GUEST_PCI_H

#include "mailbox.h"

/* Find, size, restore and enable the BARs; MAILBOX_READY, or what went wrong. */
enum mailbox_status pci_find_testdev(struct mailbox *box);

#endif
